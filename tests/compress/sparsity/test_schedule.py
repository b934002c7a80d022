"""The share of zeros over a training."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.sparsity.schedule import RAMP, UPDATES, share_at

SHARES = st.floats(0.01, 0.99)
PROGRESS = st.floats(0.0, 1.0)


@settings(deadline=None)
@given(PROGRESS, PROGRESS, SHARES)
def test_it_never_falls_and_never_passes_its_end(first: float, second: float, final: float) -> None:
    early, late = sorted((first, second))
    assert 0.0 <= share_at(early, final) <= share_at(late, final) <= final


@settings(deadline=None)
@given(st.floats(RAMP, 1.0), SHARES)
def test_after_the_ramp_all_zeros_are_there(progress: float, final: float) -> None:
    assert share_at(progress, final) == pytest.approx(final)


@settings(deadline=None)
@given(st.integers(1, UPDATES), SHARES)
def test_at_each_update_it_is_zhu_and_gupta_s_cubic(update: int, final: float) -> None:
    done = update / UPDATES
    assert share_at(done * RAMP, final) == pytest.approx(final + (0.0 - final) * (1.0 - done) ** 3)


def test_a_training_begins_without_zeros() -> None:
    assert share_at(0.0, 0.9) == 0.0
    assert share_at(0.999 * RAMP / UPDATES, 0.9) == 0.0
