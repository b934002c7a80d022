"""The correction of sums by whole networks."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.latency.correction import Whole, fit_correction
from edgekit.latency.unit import Family, Unit

CONV = Unit(Family("conv", (8, 8), "int8", (3, 3), padding=(1, 1, 1, 1)), 16, 16)
ADD = Unit(Family("add", (8, 8), "int8"), 16, 16)


def wholes(count: int, noise: float = 0.0) -> list[Whole]:
    """Time is 1.2 × that of convolutions + 0.8 × that of additions + 0.05 ms."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count):
        conv, add = rng.uniform(0.2, 1.0), rng.uniform(0.05, 0.4)
        time_ms = (1.2 * conv + 0.8 * add + 0.05) * (1 + noise * rng.standard_normal())
        made.append(Whole((CONV, ADD), (conv, add), time_ms))
    return made


def test_what_networks_have_in_common_is_told() -> None:
    correction = fit_correction(wholes(40), structure="s", network="n", precision="int8")
    assert correction.heldout_worst < 0.01
    assert correction.apply((CONV, ADD), (0.5, 0.2)).value == pytest.approx(
        1.2 * 0.5 + 0.8 * 0.2 + 0.05, rel=0.01
    )


def test_the_interval_is_as_wide_as_the_worst_held_out_error() -> None:
    correction = fit_correction(wholes(12, noise=0.05), structure="s", network="n", precision="int8")
    told = correction.apply((CONV, ADD), (0.5, 0.2))
    assert told.high / told.value == pytest.approx(1 + correction.heldout_worst)
    assert correction.heldout_median <= correction.heldout_worst
    assert correction.networks == 12


def test_no_part_is_negative() -> None:
    less = [Whole(whole.units, whole.predicted_ms, 0.3 * whole.measured_ms) for whole in wholes(12)]
    correction = fit_correction(less, structure="s", network="n", precision="int8")
    assert min(*correction.factors, correction.constant_ms, correction.weights_ms_per_mib) >= 0


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="3 or more"):
        fit_correction(wholes(2), structure="s", network="n", precision="int8")
