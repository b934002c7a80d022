"""Methods that make networks smaller, named in one list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgekit.building.methods import with_methods
from edgekit.building.request import BuildRequest
from edgekit.errors import UserError
from edgekit.types import METHODS, Budget, Sparsity

REQUEST = BuildRequest("generic-cpu", "net.py:make", "digits", Budget(max_latency_ms=1.0))


def asked(request: BuildRequest) -> set[str]:
    told = {
        "prune": request.prune,
        "low-rank": request.low_rank is not None,
        "drop": bool(request.drop),
        "student": request.student is not None,
        "qat": request.qat == "always",
        "sparse": request.sparsity is not None,
    }
    assert tuple(told) == METHODS
    return {name for name, is_asked in told.items() if is_asked}


@pytest.mark.parametrize("given", [None, "auto", ["auto"], " AUTO "])
def test_without_methods_the_request_is_as_it_was(given: object) -> None:
    assert with_methods(REQUEST, given) is REQUEST


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("none", set()),
        ("prune", {"prune"}),
        ("qat", {"qat"}),
        ("prune, QAT", {"prune", "qat"}),
        (["low-rank", "qat"], {"low-rank", "qat"}),
        ("qat,qat", {"qat"}),
    ],
)
def test_these_methods_and_no_others(given: object, wanted: set[str]) -> None:
    request = with_methods(REQUEST, given)
    assert asked(request) == wanted
    assert request.qat in ("always", "never")
    assert replace(request, prune=True, qat="auto", low_rank=None) == REQUEST


def test_what_an_option_says_of_a_method_stays() -> None:
    given = {
        "low_rank": 0.9,
        "drop": ("blocks.1",),
        "student": "net.py:small",
        "sparsity": Sparsity("2:4", 0.5),
    }
    request = replace(REQUEST, **given)  # type: ignore[arg-type]
    assert with_methods(request, "prune,drop,student,low-rank,sparse") == replace(request, qat="never")


@pytest.mark.parametrize(
    ("fields", "given", "said"),
    [
        (
            {},
            "quant",
            "'quant' is no method; allowed: auto, none, prune, low-rank, drop, student, qat, sparse",
        ),
        ({}, "pruning", r"did you mean prune\?"),
        ({}, "none,qat", "give none alone"),
        ({}, ["auto", "prune"], "give auto alone"),
        ({}, 3, "compress is 3; allowed: auto, none"),
        ({}, [], r"compress is \[\]"),
        ({}, "", "'' is no method"),
        ({}, "prune,drop", r"names drop without saying what; --drop blocks\.3"),
        ({}, "student", r"names student without saying what; --student net\.py:make_small"),
        ({"drop": ("blocks.1",)}, "drop", "names drop without prune"),
        ({"drop": ("blocks.1",)}, "prune", "drop is asked for by its own option; add drop"),
        ({}, "prune,sparse", r"names sparse without saying what; --sparsity 2:4 or 0\.8"),
        ({"sparsity": Sparsity("2:4", 0.5)}, "prune", "sparse is asked for by its own option; add sparse"),
        ({"low_rank": 0.9}, "none", "low-rank is asked for by its own option"),
        ({"student": "net.py:small"}, "prune", "student is asked for by its own option"),
        ({"qat": "always"}, "prune", "qat is asked for by its own option"),
        ({"prune": False}, "prune", "and --no-prune leaves prune out; say it once"),
        ({"qat": "never"}, "qat", "--qat never leaves qat out"),
    ],
)
def test_what_cannot_be_meant_is_told(fields: dict[str, Any], given: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        with_methods(replace(REQUEST, **fields), given)
