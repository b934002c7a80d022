"""A text classifier in INT8: its words' table, its mask of minus infinity, in the runtimes that read ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.graph import CalibrationData, onnx_cost
from edgekit.graph.attention import masked
from edgekit.graph.tables import look_ups
from edgekit.graph.taps import load_graph
from edgekit.hardware import find_target
from edgekit.model import export_onnx
from edgekit.quantize import Recipe, collect_ranges, find_recipe
from edgekit.types import Artifact, BackendName, Candidate, Variant

WORDS, TOKENS, WIDTH, HEADS = 8000, 6, 16, 2
TABLE = 4 * WORDS * WIDTH


class Reader(nn.Module):
    """int64 [N, TOKENS] ids and mask → logits [N, 3]; a masked word has minus infinity in each softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm = nn.Embedding(WORDS, WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.last = nn.Linear(WIDTH, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        normed = self.norm(x)
        query, key, value = (
            layer(normed).reshape(-1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        hidden = torch.zeros_like(mask, dtype=torch.float32).masked_fill(mask == 0, -torch.inf)
        scores = query @ key.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5 + hidden[:, None, None]
        mixed = functional.softmax(scores, -1) @ value
        x = x + self.out(mixed.transpose(1, 2).reshape(-1, TOKENS, WIDTH))
        logits: torch.Tensor = self.last(x.mean(1))
        return logits


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("reader") / "network.onnx"
    signature = export_onnx(Reader().eval(), sentences(2), path)
    return Variant("original", "original", None, "", str(path), "", signature, onnx_cost(path))


def sentences(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Of one word and more."""
    rng = np.random.default_rng(seed)
    mask = np.arange(TOKENS)[None] < rng.integers(1, TOKENS + 1, (count, 1))
    return rng.integers(0, WORDS, (count, TOKENS)), mask.astype(np.int64)


DATA = CalibrationData(lambda: iter([sentences(64)]), 64, "digest")


def export(reader: Variant, runtime: BackendName, folder: Path, recipe: Recipe | None) -> Artifact:
    folder.mkdir()
    candidate = Candidate(
        "c", "original", runtime, "int8" if recipe else "fp32", recipe.name if recipe else ""
    )
    target, features = find_target("generic-cpu"), frozenset({"avx2", "avx512_vnni"})
    request = ExportRequest(reader, candidate, target, features, folder, recipe, DATA if recipe else None)
    return get_backend(runtime).export(request)


def outputs(artifact: Artifact) -> np.ndarray:
    with get_backend(artifact.backend).open(artifact) as session:
        names = [spec["name"] for spec in session.signature["inputs"]]
        rows = [
            next(iter(session.run(dict(zip(names, (ids[None], mask[None]), strict=True))).values()))
            for ids, mask in zip(*sentences(32, seed=1), strict=True)
        ]
    return np.concatenate(rows)


NEEDS = {"onnxruntime": "onnxruntime", "litert": "litert_torch", "openvino": "nncf"}


@pytest.mark.parametrize("runtime", list(NEEDS))
def test_a_mask_of_minus_infinity_and_a_table_of_int8_rows_stay_near_float(
    runtime: BackendName, reader: Variant, tmp_path: Path
) -> None:
    pytest.importorskip(NEEDS[runtime])
    recipe = find_recipe("int8-nncf-mse" if runtime == "openvino" else "int8-mse")
    whole = export(reader, runtime, tmp_path / "float", None)
    built = export(reader, runtime, tmp_path / "int8", recipe)
    right, wrong = outputs(whole), outputs(built)
    assert np.isfinite(wrong).all()
    assert np.square(right - wrong).sum() < 0.01 * np.square(right).sum()
    assert built.size_bytes < whole.size_bytes - 0.5 * TABLE


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_the_plan_names_the_table(runtime: BackendName, reader: Variant, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS[runtime])
    built = export(reader, runtime, tmp_path / "int8", find_recipe("int8-minmax"))
    assert built.quantization is not None
    assert built.quantization.tables == look_ups(load_graph(reader.onnx_path))
    assert not set(built.quantization.tables) & {layer.name for layer in built.quantization.in_float}


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_a_recipe_can_keep_the_table_in_float(runtime: BackendName, reader: Variant, tmp_path: Path) -> None:
    import msgspec

    pytest.importorskip(NEEDS[runtime])
    recipe = msgspec.structs.replace(find_recipe("int8-minmax"), keep_float_ops=("Gather",))
    built = export(reader, runtime, tmp_path / "int8", recipe)
    assert built.quantization is not None
    assert built.quantization.tables == ()
    assert built.size_bytes > TABLE


def test_what_hides_words_is_all_that_may_be_infinite_and_has_no_range(reader: Variant) -> None:
    model = load_graph(reader.onnx_path)
    ranges = collect_ranges(reader.onnx_path, DATA)
    hidden = masked(model)
    kinds = {name: node.op_type for node in model.graph.node for name in node.output}
    assert hidden
    assert not hidden & ranges.keys()
    assert "MatMul" not in {kinds[name] for name in hidden}
    assert {kinds[name] for name in ranges.keys() & kinds.keys()} >= {
        "LayerNormalization",
        "MatMul",
        "Softmax",
    }


def test_infinity_elsewhere_is_refused(tmp_path: Path) -> None:
    import onnx

    from edgekit.errors import StageError

    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y, float[1,4] z) '
        "{ l = Log(x) s = Add(l, x) y = Softmax(s) z = Relu(s) }"
    )
    onnx.save(model, str(tmp_path / "net.onnx"))
    data = CalibrationData(lambda: iter([(np.array([[0, 1, 2, 3]], np.float32),)]), 1, "")
    with pytest.raises(StageError, match="not finite"):
        collect_ranges(tmp_path / "net.onnx", data)
