"""Training's configuration: epochs that small data sets need, what the time limit leaves, how it is validated."""

from __future__ import annotations

import time

import pytest

from edgekit.building.request import TrainOptions
from edgekit.building.time_limit import TimeLimit
from edgekit.building.variants.training import (
    at_least,
    prune_config,
    seconds_left,
    training_config,
    training_deadline,
    validator,
)
from tests.building.parts import digit_splits
from tests.building.variants.contexts import given_model


@pytest.mark.parametrize(
    ("batches", "epochs", "samples", "batch_size", "expected"),
    [
        (25, 0.5, 12_800, 128, 0.5),  # 50 batches in half an epoch
        (25, 0.5, 1_280, 128, 2.5),  # 10 batches an epoch
        (25, 0.5, 60, 128, 25.0),  # one batch, smaller than asked for
        (25, 0.5, 255, 128, 25.0),  # what does not fill a batch is left out
    ],
)
def test_small_data_sets_get_as_many_epochs_as_hold_the_batches(
    batches: int, epochs: float, samples: int, batch_size: int, expected: float
) -> None:
    assert at_least(batches, epochs, samples, batch_size) == expected


def test_what_the_request_asks_for_is_what_is_trained() -> None:
    options = TrainOptions(
        epochs=3.0, learning_rate=0.2, batch_size=16, temperature=2.0, alpha=0.5, device="cpu", loss="a:b"
    )
    config = training_config(options, seed=5, samples=100)
    assert (config.epochs, config.learning_rate, config.batch_size, config.temperature) == (3.0, 0.2, 16, 2.0)
    assert (config.alpha, config.device, config.loss, config.step, config.seed) == (
        0.5,
        "cpu",
        "a:b",
        None,
        5,
    )


def test_without_epochs_asked_for_there_are_twelve_or_more() -> None:
    assert training_config(TrainOptions(), 0, 50_000).epochs == 12.0
    assert training_config(TrainOptions(), 0, 1_280).epochs == 20.0


def test_channels_are_pruned_in_the_target_s_multiples() -> None:
    config = prune_config(TrainOptions(step_ratio=0.2, importance="taylor"), 32)
    assert (config.ratio_step, config.importance, config.round_to) == (0.2, "taylor", 32)


@pytest.mark.parametrize(("limit_s", "reserve_s"), [(100.0, 60.0), (1000.0, 120.0)])
def test_training_ends_early_enough_to_export_and_measure(limit_s: float, reserve_s: float) -> None:
    limit = TimeLimit(limit_s, 5000.0)
    assert training_deadline(limit) == pytest.approx(5000.0 - reserve_s)


def test_without_a_time_limit_there_is_no_end() -> None:
    assert training_deadline(None) is None
    assert seconds_left(None) == float("inf")
    assert seconds_left(TimeLimit(100.0, time.monotonic() + 60.0)) <= 0.0


def test_labels_are_what_a_network_is_validated_with_and_without_them_its_original() -> None:
    module = given_model().load()
    assert validator(digit_splits(labelled=False).validation, module)(module) == 1.0
    assert validator(digit_splits().validation, module)(module) < 0.5  # it is untrained
