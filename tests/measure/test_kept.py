"""Dead channels and columns are seen whatever lies beside them; rounding of a healthy network is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekit.measure import evaluate, kept

RNG = np.random.default_rng(0)
BOXES = RNG.random((40, 4, 16)) * 80 + np.arange(16) * 40
SCORES = RNG.random((40, 6, 16)) * 0.3
Change = Callable[[np.ndarray], np.ndarray]


def int8(values: np.ndarray) -> np.ndarray:
    step = np.ptp(values) / 255
    return np.round(values / step) * step


def fp16(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


def one_dead(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed[:, 5] = 0
    return changed


def drop_and_worst(reference: dict[str, np.ndarray], change: Change) -> tuple[float, str, float]:
    accuracy = evaluate({name: change(values) for name, values in reference.items()}, reference, None)
    assert accuracy.worst_part is not None
    return accuracy.drop.value, accuracy.worst_part.text, accuracy.worst_part.kept


@pytest.mark.parametrize("turn", [(0, 1, 2), (0, 2, 1)])
def test_scores_that_become_zero_beside_boxes_are_a_large_drop(turn: tuple[int, ...]) -> None:
    together = np.concatenate([BOXES, SCORES], 1).transpose(turn)
    axis = turn.index(1)
    drop, worst, _ = drop_and_worst({"output": together}, int8)
    assert drop > 0.5
    assert worst.startswith(f"output output, axis {axis}, 4 to 9: 0.0 % is kept (0 everywhere where")


def test_one_dead_column_of_a_hundred_costs_a_tenth() -> None:
    many = np.concatenate([BOXES, np.repeat(SCORES, 16, axis=1)], 1)
    drop, worst, _ = drop_and_worst({"output": many}, one_dead)
    assert 0.1 < drop < 0.25
    assert "axis 1, 5: 0.0 % is kept" in worst


def test_a_dead_output_of_a_dict_is_named() -> None:
    drop, worst, kept_share = drop_and_worst(
        {"boxes": BOXES, "scores": SCORES}, lambda values: values if values is BOXES else values * 0
    )
    assert drop > 0.4
    assert worst.startswith("output scores")
    assert kept_share <= 0


def test_boxes_that_stand_still_on_their_grid_are_seen() -> None:
    """The grid is most of what they are: no cosine sees it."""
    still = np.broadcast_to(BOXES.mean(0), BOXES.shape)
    assert np.corrcoef(BOXES.ravel(), still.ravel())[0, 1] > 0.99
    assert drop_and_worst({"output": BOXES}, lambda _: still)[0] > 0.5


@pytest.mark.parametrize(
    "values", [BOXES, SCORES, RNG.standard_normal((40, 3, 8, 8)), RNG.standard_normal((40, 5, 7))]
)
def test_rounding_of_a_healthy_output_is_hardly_seen(values: np.ndarray) -> None:
    assert drop_and_worst({"output": values}, fp16)[0] < 1e-3
    assert drop_and_worst({"output": values}, int8)[0] < 5e-3


def test_what_is_dead_by_nature_costs_nothing() -> None:
    """A constant, a zero and a class that never comes, in float16."""
    maps = np.concatenate([SCORES, np.zeros((40, 2, 16)), np.full((40, 1, 16), 0.7), SCORES[:, :2] * 1e-9], 1)
    assert drop_and_worst({"output": maps}, fp16)[0] < 1e-3
    drop, worst, _ = drop_and_worst({"output": maps}, lambda values: np.where(values == 0, 0.5, values))
    assert drop > 0.1
    assert "0.5 everywhere where the original has 0 everywhere" in worst


def test_values_that_are_not_finite_are_lost_unless_they_are_the_original_s() -> None:
    masked = SCORES.copy()
    masked[:, 0] = -np.inf
    assert drop_and_worst({"output": masked}, np.copy)[0] == 0
    assert drop_and_worst({"output": masked}, lambda values: np.where(values > 0.29, np.nan, values))[0] > 0.1


def test_it_reads_outputs_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    together = {"output": np.concatenate([BOXES, SCORES], 1)}
    whole = drop_and_worst(together, int8)
    monkeypatch.setattr(kept, "CHUNK_ELEMENTS", 500)
    assert (
        drop_and_worst(together, int8) == pytest.approx(whole)
        or drop_and_worst(together, int8)[1] == whole[1]
    )


@pytest.mark.parametrize("shape", [(12,), (12, 1), (1, 3, 4)])
def test_odd_shapes_have_a_score(shape: tuple[int, ...]) -> None:
    values = RNG.random(shape)
    scores, worst = kept.kept_variation({"y": values}, {"y": values})
    assert scores.tolist() == [1.0] * shape[0]
    assert worst.kept == 1
