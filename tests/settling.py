"""A build's output folder whose board was not there, with made-up estimates, for tests of what settles it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.bundle import BoardIdentity
from edgekit.result import Result, TargetInfo, save_result
from edgekit.testing.results import example_result
from edgekit.types import Budget
from tests.board.test_settle import EASY, HERE, candidates_bundle
from tests.bundles import network

NAMES = ("onnxruntime", "openvino")


def provisional(target: str, budget: Budget, names: Sequence[str] = NAMES) -> Result:
    """What a build gives of these candidates while the board is not here."""
    made = example_result("MISSES", candidates=max(2, len(names)))
    rows = tuple(
        replace(row, id=name, variant="original", origin="estimated", backend=name)  # type: ignore[arg-type]
        for row, name in zip(made.candidates, names, strict=False)
    )
    return replace(
        made,
        verdict="PROVISIONAL",
        explanation="it is not here; to settle it, copy the bundle",
        target=TargetInfo(target, target),
        budget=budget,
        winner=None,
        nearest=names[-1],
        candidates=rows,
        failures=(),
        claim=None,
    )


def built(
    folder: Path,
    *,
    target: str = "generic-cpu",
    identity: BoardIdentity = HERE,
    budget: Budget = EASY,
) -> Path:
    """The --out folder: bundle/ with two real candidates, and result.json."""
    out = candidates_bundle(folder, target=target, identity=identity, budget=budget).parent
    save_result(provisional(target, budget), out / "result.json")
    return out


def right_answer(_path: Path, feeds: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """What the candidates of the bundle answer, for fake boards."""
    (image,) = feeds.values()
    return {"scores": network(image)}
