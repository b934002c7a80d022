"""The table of precisions."""

from __future__ import annotations

from typing import get_args

from edgekit.cli.request import OFFERED
from edgekit.precisions import PRECISIONS
from edgekit.types import Precision


def test_every_precision_has_its_row() -> None:
    assert tuple(PRECISIONS) == get_args(Precision)
    assert all(row.name == name for name, row in PRECISIONS.items())


def test_arithmetic_is_a_precision_that_computes_in_itself() -> None:
    assert all(PRECISIONS[row.arithmetic].arithmetic == row.arithmetic for row in PRECISIONS.values())


def test_markers_are_told_apart() -> None:
    assert len({row.marker for row in PRECISIONS.values()}) == len(PRECISIONS)


def test_a_build_offers_what_some_backend_makes() -> None:
    assert OFFERED == ("fp32", "bf16", "fp16", "int8", "w8", "w4", "int8-dynamic")


def test_a_precision_runs_as_meant_in_itself_or_in_its_arithmetic() -> None:
    assert PRECISIONS["int8-dynamic"].is_meant_by("int8")
    assert PRECISIONS["w4"].is_meant_by("int8")
    assert PRECISIONS["w4"].is_meant_by("fp32")
    assert not PRECISIONS["fp16"].is_meant_by("fp32")
    assert not PRECISIONS["int8"].is_meant_by("fp32")
