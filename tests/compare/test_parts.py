"""A tensor that holds small values beside large ones is judged part by part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.backends.tensors import TensorFacts
from edgekit.cli.compare_text import divergence_text, output_text
from edgekit.compare import CompareSamples, Comparison, compare_artifacts
from edgekit.compare.parts import FEWEST_SAMPLES, PartDifference, PartSums, side_by_side
from edgekit.measure.kept import kept_variation
from tests.compare.artifacts import onnx_artifact

RNG = np.random.default_rng(0)
BOXES = RNG.random((24, 4, 16)) * 80 + np.arange(16) * 40
SCORES = RNG.random((24, 6, 16)) * 0.3
JOINED = np.concatenate([BOXES, SCORES], 1)
TENSORS = arrays(np.float32, (12, 3, 4), elements=st.floats(-1e3, 1e3, width=32))


def worst(a: np.ndarray, b: np.ndarray, arithmetic: str = "int8", batch: int = 5) -> PartDifference:
    sums = PartSums()
    for start in range(0, len(a), batch):
        sums.add(a[start : start + batch], b[start : start + batch])
    found = sums.result(arithmetic)
    assert found is not None
    return found


def int8(values: np.ndarray) -> np.ndarray:
    step = np.ptp(values) / 255
    return np.round(values / step) * step


@pytest.mark.parametrize("turn", [(0, 1, 2), (0, 2, 1)])
def test_scores_that_die_beside_boxes_are_found_along_whichever_axis(turn: tuple[int, ...]) -> None:
    a = JOINED.transpose(turn)
    found = worst(a, int8(a))
    assert found.lost
    assert (found.axis, found.first, found.last) == (turn.index(1), 4, 9)
    assert found.text.startswith(f"axis {found.axis}, 4 to 9: 0.0 % is kept (B has 0 everywhere where A has ")


def test_what_a_sound_int8_tensor_loses_is_no_lost_part() -> None:
    for values in (BOXES, SCORES, RNG.standard_normal((24, 5))):
        found = worst(values, int8(values))
        assert not found.lost
        assert found.kept > 0.9


def test_two_float_artifacts_are_held_to_more_than_a_quantized_one() -> None:
    """Scores that are a hundredth off: 20 times below what an INT8 tensor does, nothing a float network would do."""
    off = JOINED.copy()
    off[:, 4:] *= 1.01
    assert not worst(JOINED, off, "int8").lost
    assert worst(JOINED, off, "fp32").lost
    assert not worst(JOINED, JOINED.astype(np.float16), "fp16").lost


@settings(deadline=None)
@given(TENSORS, st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_batches_add_up_and_the_worst_part_is_that_of_a_build(a: np.ndarray, seed: int, batch: int) -> None:
    """`kept_variation` cuts each sample off at -1, so both say the same where no sample falls below 0."""
    b = a + 0.1 * np.random.default_rng(seed).standard_normal(a.shape) * a.std(axis=0)
    found = worst(a, b, batch=batch)
    assert found.kept == pytest.approx(worst(a, b, batch=len(a)).kept, abs=1e-9)
    if found.kept > 0.9:
        assert found.kept == pytest.approx(kept_variation({"y": b}, {"y": a})[1].kept, abs=1e-6)


@settings(deadline=None)
@given(TENSORS)
def test_no_part_of_a_tensor_differs_from_itself(a: np.ndarray) -> None:
    found = worst(a, a, "fp32")
    assert (found.kept, found.lost) == (1.0, False)


def test_a_part_that_is_not_finite_is_lost() -> None:
    b = JOINED.copy()
    b[3, 7, 2] = np.nan
    found = worst(JOINED, b)
    assert found.lost
    assert (found.axis, found.first, found.last) == (1, 7, 7)


def test_nothing_is_said_of_few_samples_of_one_part_or_of_shapes_that_follow_the_values() -> None:
    for batches in (
        [JOINED[: FEWEST_SAMPLES - 1]],
        [JOINED[:, :1, :1]],
        [JOINED, JOINED[:, :, :5]],
    ):
        sums = PartSums()
        for batch in batches:
            sums.add(batch, batch)
        assert sums.result("int8") is None


def test_tensors_that_only_move_to_an_output_are_answers_and_others_are_not() -> None:
    def facts(name: str, op: str, *inputs: str) -> TensorFacts:
        return TensorFacts(name, (name, f"{name}:0"), op, name, inputs)

    graph = (
        facts("x", "input"),
        facts("features", "conv", "x"),
        facts("boxes", "add", "features"),
        facts("scores", "sigmoid", "features"),
        facts("joined", "concat", "boxes", "scores"),
        facts("out", "transpose", "joined"),
    )
    assert side_by_side(graph, {"out:0"}) == {"out", "joined", "boxes", "scores"}


def joined_heads(folder: Path, kind: str) -> Path:
    """Float and naively quantized ONNX of one network whose output holds two ranges; the float one's path."""
    torch = pytest.importorskip("torch")
    from torch import nn

    from edgekit.model import export_onnx

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()
            )
            self.large, self.small = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = self.stem(x)
            large, small = 4 * self.large(features), (4 * self.small(features)).sigmoid() * 0.3
            if kind == "boxes beside scores":
                return torch.cat([large.flatten(2).sigmoid() * 640, small.flatten(2)], 1)
            if kind == "logits beside masks":
                return torch.cat([60 * large, small], 1)
            places = large.sigmoid().flatten(1).reshape(-1, 32, 2) * 640
            return torch.cat([places, small.flatten(1).unsqueeze(-1)], 2)

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        network = Heads().eval()
    export_onnx(network, (np.zeros((1, 3, 16, 16), np.float32),), folder / "float.onnx")
    return folder / "float.onnx"


def quantized(path: Path, images: np.ndarray) -> Path:
    """As ONNX Runtime's own tool does it when nothing is kept apart: one scale for all that a Concat joins."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter([{"input": image[None]} for image in images])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rest, None)

    out = path.with_name("int8.onnx")
    quantize_static(str(path), str(out), Reader(), quant_format=QuantFormat.QDQ)
    return out


def found_between(folder: Path, kind: str, count: int = 24) -> Comparison:
    images = np.random.default_rng(0).standard_normal((24, 3, 16, 16)).astype(np.float32)
    path = joined_heads(folder, kind)
    other = quantized(path, images)
    samples = CompareSamples(lambda: iter([((images[:count],), None)]), count, "images")
    return compare_artifacts(onnx_artifact(path), onnx_artifact(other), samples)


@pytest.mark.parametrize(
    ("kind", "axis", "parts"),
    [
        ("boxes beside scores", 1, (4, 5)),
        ("logits beside masks", 1, (4, 5)),
        ("keypoints beside confidences", 2, (2, 2)),
    ],
)
def test_what_dies_beside_larger_values_is_where_two_artifacts_part(
    kind: str, axis: int, parts: tuple[int, int], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    found = found_between(tmp_path, kind)
    output = found.outputs[0]
    assert output.difference.cosine > 0.997
    assert output.difference.sqnr_db > 20
    layer = found.first_divergence()
    assert layer is not None
    for part in (layer.part, output.part):
        assert part is not None
        assert part.lost
        assert (part.axis, part.first, part.last) == (axis, *parts)
    place = f"{parts[0]}" if parts[0] == parts[1] else f"{parts[0]} to {parts[1]}"
    assert f"is where they part: axis {axis}, {place}: " in divergence_text(found)
    assert f"axis {axis}, {place}: " in output_text(output)
    assert any("one scale" in hint for hint in layer.hints)


def test_too_few_samples_to_judge_parts_are_told(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    found = found_between(tmp_path, "boxes beside scores", count=3)
    assert found.outputs[0].part is None
    assert any("fewer than 8 samples" in note for note in found.notes)
