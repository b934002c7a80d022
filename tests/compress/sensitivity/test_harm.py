"""Harm between and below measured widths, and of whole plans."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.compress import (
    BlockHarm,
    GroupHarm,
    LayerHarm,
    MeasuredWidth,
    PrunePlan,
    PruneStep,
    Sensitivity,
)
from edgekit.errors import UserError


def group(scores: list[float], harms: dict[int, float], layer: str = "a") -> GroupHarm:
    """Of channels with these scores, the best first."""
    total = sum(scores)
    lost = tuple(sum(scores[width:]) / total if total else 0.0 for width in range(len(scores) + 1))
    measured = tuple(MeasuredWidth(width, harms[width]) for width in sorted(harms, reverse=True))
    return GroupHarm(layer, len(scores), (layer, f"{layer}.other"), measured, lost)


MEASURED = Sensitivity(
    groups=(group([4, 3, 2, 1], {2: 0.3, 1: 1.0}, "a"), group([1, 1, 1, 1], {2: 0.5}, "b")),
    blocks=(BlockHarm("blocks.1", 0.25),),
    layers=(LayerHarm("a", {"int8": 0.01}), LayerHarm("b", {"int8": 0.02})),
    floor=0.0,
    samples=8,
)


def test_measured_widths_have_their_harm_and_full_width_has_none() -> None:
    harms = [MEASURED.groups[0].harm(width) for width in (4, 2, 1)]
    assert harms == pytest.approx([0.0, 0.3, 1.0])


def test_between_measured_widths_the_lost_score_decides() -> None:
    # The third best channel holds 2 of the 3 tenths that are lost from full width to two channels.
    assert MEASURED.groups[0].harm(3) == pytest.approx(0.1, rel=1e-3)
    assert MEASURED.groups[1].harm(3) == pytest.approx(0.25, rel=1e-3)


def test_below_the_narrowest_measured_width_harm_goes_on() -> None:
    assert MEASURED.groups[1].harm(1) == pytest.approx(0.75, rel=1e-3)
    steeper = group([1, 1, 1, 1], {3: 0.1, 2: 0.6})
    assert steeper.harm(1) == pytest.approx(1.1, rel=1e-3)


def test_channels_without_a_score_do_no_harm_until_others_go() -> None:
    dead = group([1, 1, 0, 0], {2: 0.0, 1: 0.4})
    assert [dead.harm(width) for width in (4, 3, 2, 1)] == pytest.approx([0.0, 0.0, 0.0, 0.4])


@given(
    st.lists(st.floats(0.0, 10.0), min_size=2, max_size=12).map(lambda scores: sorted(scores, reverse=True)),
    st.dictionaries(st.integers(1, 11), st.floats(0.0, 5.0), max_size=3),
)
def test_harm_never_falls_as_a_group_is_narrowed(scores: list[float], harms: dict[int, float]) -> None:
    measured = {width: harm for width, harm in harms.items() if width < len(scores)}
    of = group(scores, measured)
    told = [of.harm(width) for width in range(len(scores), 0, -1)]
    assert told[0] == 0.0
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(told))


def test_a_plan_is_as_harmful_as_its_parts() -> None:
    plan = PrunePlan((PruneStep("a", 4, (0, 1)), PruneStep("b", 4, (0, 1, 2))), 100, 50, ("blocks.1",))
    assert MEASURED.harm_of(plan) == pytest.approx(0.3 + 0.25 + 0.25, rel=1e-3)
    assert MEASURED.harm_of(PrunePlan()) == 0.0
    assert MEASURED.harm_of_widths({"b.other": 2}) == pytest.approx(
        0.5
    )  # whose first layer went with a block
    assert MEASURED.harm_of_precision(["a", "b", "never measured"], "int8") == pytest.approx(0.03)


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(UserError, match=r"nothing is known of c; allowed: a, b, blocks\.1"):
        MEASURED.harm_of_widths({"c": 2})
    with pytest.raises(UserError, match=r"nothing is known of blocks\.2"):
        MEASURED.harm_of_widths({}, ["blocks.2"])
    with pytest.raises(UserError, match="a with 5 channels; allowed: 1 to 4"):
        MEASURED.harm_of_widths({"a": 5})


def test_it_is_read_back() -> None:
    assert Sensitivity.from_json(MEASURED.to_json()) == MEASURED
    with pytest.raises(UserError, match="not a measured sensitivity"):
        Sensitivity.from_json('{"groups": 3}')
