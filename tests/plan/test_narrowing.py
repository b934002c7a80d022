"""How narrow to prune, from measured structures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.plan import Structure, shortfall, widest_that_fits
from edgekit.plan.narrowing import MARGIN
from edgekit.types import Budget

structures = st.lists(
    st.builds(
        Structure,
        fraction=st.floats(0.1, 1.0),
        latency_ms=st.floats(0.01, 10.0),
        size_bytes=st.integers(1, 10**7),
        peak_memory_bytes=st.integers(1, 10**9),
        energy_mj=st.none() | st.floats(0.01, 10.0),
    ),
    max_size=8,
)
budgets = st.builds(
    Budget,
    max_latency_ms=st.none() | st.floats(0.01, 10.0),
    max_size_bytes=st.none() | st.integers(1, 10**7),
    max_memory_bytes=st.none() | st.integers(1, 10**9),
    max_energy_mj=st.none() | st.floats(0.01, 10.0),
)


@given(structures, budgets)
def test_the_pick_keeps_every_limit_and_nothing_wider_does(found: list[Structure], budget: Budget) -> None:
    pick = widest_that_fits(found, budget)
    fitting = [one for one in found if not shortfall(one, budget)]
    if pick is None:
        assert not fitting
    else:
        assert pick in fitting
        assert all(one.fraction <= pick.fraction for one in fitting)


@given(structures)
def test_without_limits_the_widest_is_picked(found: list[Structure]) -> None:
    pick = widest_that_fits(found, Budget())
    assert (pick.fraction if pick else None) == max((one.fraction for one in found), default=None)


def test_a_latency_within_the_margin_of_its_limit_does_not_fit() -> None:
    limit_ms = 1.0
    close = Structure(0.5, limit_ms * (1 - MARGIN / 2), 1, 1)
    assert "ms" in shortfall(close, Budget(max_latency_ms=limit_ms))
    assert not shortfall(Structure(0.5, limit_ms * (1 - 2 * MARGIN), 1, 1), Budget(max_latency_ms=limit_ms))


def test_an_energy_over_its_limit_does_not_fit_and_one_that_is_not_known_does() -> None:
    limit = Budget(max_energy_mj=5.0)
    assert "mJ" in shortfall(Structure(0.5, 1.0, 1, 1, energy_mj=5.0), limit)
    assert not shortfall(Structure(0.5, 1.0, 1, 1, energy_mj=4.0), limit)
    assert not shortfall(Structure(0.5, 1.0, 1, 1), limit)
