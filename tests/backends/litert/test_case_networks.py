"""What people build with, in LiteRT: lint says what export says, and what is exported computes what torch computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends.base import ExportRequest
from edgekit.backends.litert.backend import LiteRtBackend
from edgekit.backends.litert.flatbuffer import LAYOUT, read_flatbuffer, read_ops
from edgekit.errors import StageError
from edgekit.graph import CalibrationData, onnx_cost
from edgekit.graph.to_torch.module import onnx_to_torch
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.quantize import find_recipe
from edgekit.testing.case_networks import CASE_NETWORKS
from edgekit.types import Artifact, Candidate, Precision, Variant

pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_torch")
torch = pytest.importorskip("torch")

Arrays = tuple[np.ndarray, ...]

REFUSED = frozenset({"gru", "lstm"})

LAYOUT_OPS = {"yolo-head": 1, "pixel-shuffle": 1, "pixel-unshuffle": 1}
"""The networks without attention of which something has to be turned: how often. All others need nothing turned."""

ATTENTION = frozenset(
    {"einsum-attention", "multihead-attention", "encoder-layer", "image-attention", "tokens-encoder"}
)

EVERY_TIME = frozenset(
    {
        *(
            "ecg-conv1d",
            "weight-norm-tcn",
            "tokens-plain",
            "tokens-bool-mask",
            "unet-convtranspose",
            "yolo-head",
        ),
        *(
            "pixel-shuffle",
            "group-norm",
            "channel-softmax",
            "concat-box-score",
            "multihead-attention",
            "argmax",
        ),
        *("gru", "conv-transpose-groups"),
    }
)
"""The rest is slow, and tells of kinds beside these."""


def named(*names: str) -> list[Any]:
    return [
        pytest.param(name, marks=() if name in EVERY_TIME else pytest.mark.slow)
        for name in names or sorted(CASE_NETWORKS)
    ]


def variant_of(module: Any, inputs: Arrays, folder: Path) -> Variant:
    path = folder / "network.onnx"
    signature = export_onnx(module, inputs, path)
    return Variant("original", "original", None, "", str(path), "", signature, onnx_cost(path))


def export(variant: Variant, folder: Path, precision: Precision, samples: Arrays | None = None) -> Artifact:
    recipe = find_recipe("int8-minmax") if precision == "int8" else None
    candidate = Candidate("c", "original", "litert", precision, recipe.name if recipe else "")
    out = folder / precision
    out.mkdir()
    data = None
    if samples is not None:
        data = CalibrationData(lambda: iter([samples]), len(samples[0]), "digest")
    request = ExportRequest(
        variant, candidate, find_target("generic-cpu"), frozenset({"avx2"}), out, recipe, data
    )
    return LiteRtBackend().export(request)


def answers(artifact: Artifact, variant: Variant, inputs: Arrays) -> list[np.ndarray]:
    names = [spec.name for spec in variant.signature.inputs]
    with LiteRtBackend().open(artifact) as session:
        given = session.run(dict(zip(names, inputs, strict=True)))
    return [np.asarray(given[spec.name]) for spec in variant.signature.outputs]


def flat(value: Any) -> list[Any]:
    """Tensors of whatever a network gives, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [leaf for part in parts for leaf in flat(part)]


def expected(module: Any, inputs: Arrays) -> list[np.ndarray]:
    with torch.no_grad():
        return [leaf.numpy() for leaf in flat(module(*map(torch.from_numpy, inputs)))]


def expect_close(given: list[np.ndarray], wanted: list[np.ndarray], tolerance: float) -> None:
    assert len(given) == len(wanted)
    for left, right in zip(given, wanted, strict=True):
        assert (left.shape, left.dtype) == (right.shape, right.dtype)
        largest = float(np.abs(right.astype(np.float64)).max())
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance * largest)


def varied(inputs: Arrays, count: int = 24) -> Arrays:
    """More samples of the same kind."""
    rng = np.random.default_rng(3)
    columns = []
    for value in inputs:
        shape = (count, *value.shape[1:])
        if value.dtype.kind == "f":
            columns.append(rng.standard_normal(shape).astype(value.dtype))
        else:
            columns.append(rng.integers(0, int(value.max()) + 1, shape).astype(value.dtype))
            columns[-1][:, :1] = 1
    return tuple(columns)


@pytest.mark.parametrize("name", named())
def test_lint_says_what_export_says(tmp_path: Path, name: str) -> None:
    """Refused by both for the same reason, or exported with as many layout operations as told, and equal to torch."""
    case = CASE_NETWORKS[name]
    module, inputs = case.make(), case.inputs()
    variant = variant_of(module, inputs, tmp_path)
    issues = LiteRtBackend().lint(variant, find_target("raspberry-pi-4")).issues
    errors = [issue.reason for issue in issues if issue.severity == "error"]
    if name in REFUSED:
        assert errors
        with pytest.raises(StageError) as refusal:
            export(variant, tmp_path, "fp32")
        assert all(reason in refusal.value.cause for reason in errors)
        return
    artifact = export(variant, tmp_path, "fp32")
    assert errors == []
    ops = read_ops(read_flatbuffer(Path(artifact.folder) / artifact.entry))
    turned = sum(op.kind in LAYOUT for op in ops)
    told = " ".join(issue.reason for issue in issues)
    assert (f"{turned} in the .tflite" in told) == (turned > 0)
    if name in ATTENTION:
        assert turned <= onnx_to_torch(variant.onnx_path).layout_cost
    else:
        assert turned == LAYOUT_OPS.get(name, 0)
    expect_close(answers(artifact, variant, inputs), expected(module, inputs), 1e-4)


@pytest.mark.parametrize(
    "name",
    ["tokens-plain", "tokens-bool-mask", "unet-convtranspose", "ecg-conv1d", "conv-transpose", "max-pool1d"],
)
def test_int8_stays_near_torch(tmp_path: Path, name: str) -> None:
    case = CASE_NETWORKS[name]
    module = case.make()
    samples = varied(case.inputs())
    one = tuple(column[:1] for column in samples)
    variant = variant_of(module, one, tmp_path)
    artifact = export(variant, tmp_path, "int8", samples)
    assert artifact.audit.ran_as == "int8"
    expect_close(answers(artifact, variant, one), expected(module, one), 0.08)


def test_a_maximum_padded_on_one_side_has_the_range_of_its_input(tmp_path: Path) -> None:
    layers = (torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.MaxPool2d(3, 2, 1), torch.nn.Conv2d(8, 4, 1))
    torch.manual_seed(0)
    module = torch.nn.Sequential(*layers).eval()
    samples = varied((np.zeros((1, 3, 16, 16), np.float32),))
    one = (samples[0][:1],)
    variant = variant_of(module, one, tmp_path)
    artifact = export(variant, tmp_path, "int8", samples)
    kinds = [op.kind for op in read_ops(read_flatbuffer(Path(artifact.folder) / artifact.entry))]
    assert "PADV2" in kinds
    expect_close(answers(artifact, variant, one), expected(module, one), 0.05)


def test_what_litert_cannot_run_is_one_line_in_lint_and_export(tmp_path: Path) -> None:
    class BestChannels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).topk(2, 1)[0]

    variant = variant_of(BestChannels().eval(), (np.zeros((1, 3, 8, 8), np.float32),), tmp_path)
    (issue,) = LiteRtBackend().lint(variant, find_target("generic-cpu")).issues
    assert issue.severity == "error"
    with pytest.raises(StageError) as caught:
        export(variant, tmp_path, "fp32")
    assert caught.value.cause == issue.reason
    assert len(issue.reason.splitlines()) == 1


def test_an_int64_input_that_the_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    case = CASE_NETWORKS["tokens-plain"]
    variant = variant_of(case.make(), case.inputs(), tmp_path)
    artifact = export(variant, tmp_path, "fp32")
    far = np.full((1, 12), 2**32 + 1, np.int64)
    with pytest.raises(ValueError, match="holds values that int32 cannot"):
        answers(artifact, variant, (far,))
