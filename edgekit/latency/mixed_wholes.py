"""Times of layers in float and in int8, corrected by whole networks in both precisions that were measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.errors import StageError
from edgekit.latency.measuring import TimingOptions, measure_wholes
from edgekit.quantize.kept_by_time import int8_network_ms
from edgekit.types import Artifact

if TYPE_CHECKING:
    from edgekit.devices.base import Device, JobProgress
    from edgekit.quantize import PrecisionTimes

__all__ = ["correct_precisions"]

SHARES = (0.03, 0.08, 0.15, 0.25, 0.4, 0.6)
"""Of the INT8 network's time, for layers in float: of the networks that are measured."""

LEAST_NETWORKS = 3
"""Different ones beside that in int8 alone; with fewer nothing is corrected."""

WHOLE_ROUNDS, WHOLE_S = 15, 0.4

NOISE = 0.01
"""Of an INT8 network's time: what a measured whole may be off by."""

PRIOR = ((1.0, 0.3), (1.0, 1.0), (0.0, 0.02))
"""Factor of the layers' own times, of borders, and what each unit in float takes besides, as a share of the INT8
network's time: where they are drawn to, and how far from there is usual. OpenVINO's borders came out at 4.5."""


@dataclass(frozen=True)
class Mixed:
    """A network with these units in float, by their places, and what it takes beyond that in int8 alone."""

    in_float: tuple[int, ...]
    extra_ms: float


def correct_precisions(
    device: Device,
    times: PrecisionTimes,
    build: Callable[[float], Artifact],
    *,
    threads: int = 1,
    progress: JobProgress | None = None,
) -> PrecisionTimes:
    """The times, corrected by networks that were measured whole. `build`: the INT8 artifact with layers in float by
    these times, for a share of its own.

    Raises StageError when one cannot be made or measured, or they are too few.
    """
    made: dict[frozenset[str], Artifact] = {}
    for share in (0.0, *SHARES):
        artifact = build(share)
        kept = () if artifact.quantization is None else artifact.quantization.in_float
        made.setdefault(frozenset(layer.name for layer in kept), artifact)
    if len(made) <= LEAST_NETWORKS:
        raise StageError(
            "correct",
            f"{len(made) - 1} different networks in both precisions can be made, and it takes {LEAST_NETWORKS}",
        )
    named = {str(index): artifact for index, artifact in enumerate(made.values())}
    options = TimingOptions(threads=threads, rounds=WHOLE_ROUNDS, seconds=WHOLE_S)
    measured = measure_wholes(device, named, options, progress)
    anyway, *others = made
    int8_ms = measured["0"].value
    networks = [
        Mixed(_places(times, names - anyway), measured[str(index)].value - int8_ms)
        for index, names in enumerate(others, 1)
    ]
    return fit_precisions(times, sorted(anyway), int8_ms, networks)


def _places(times: PrecisionTimes, names: frozenset[str]) -> tuple[int, ...]:
    return tuple(place for place, unit in enumerate(times.units) if not names.isdisjoint(unit.nodes))


def fit_precisions(
    times: PrecisionTimes, float_anyway: Sequence[str], int8_ms: float, networks: Sequence[Mixed]
) -> PrecisionTimes:
    """The times with factors of least squares, none of them negative, drawn to what single layers said.

    `int8_ms`: measured, of the network where only nodes of `float_anyway` are float.
    """
    import numpy as np
    from scipy.optimize import nnls

    anyway = {*_places(times, frozenset(float_anyway)), None}
    rows = np.array(
        [
            (
                times.extra_ms({*anyway, *mixed.in_float}, anyway)
                - (borders := times.borders_ms({*anyway, *mixed.in_float}) - times.borders_ms(anyway)),
                borders,
                len(mixed.in_float) * int8_ms,
            )
            for mixed in networks
        ]
    )
    measured = np.array([mixed.extra_ms for mixed in networks])
    middles, widths = np.array(PRIOR).T
    weighted = np.vstack([rows / (NOISE * int8_ms), np.diag(1 / widths)])
    wanted = np.concatenate([measured / (NOISE * int8_ms), middles / widths])
    factors, _ = nnls(weighted, wanted)
    own, borders, unit = (float(value) for value in factors)
    off = float(np.abs(rows @ factors - measured).max() / int8_ms)
    where = f"{times.measured_on}, corrected by {len(networks)} whole networks to within {off:.0%}"
    corrected = times.corrected(own, borders, unit * int8_ms, times.int8_ms, where)
    # The sum that gives the measured network with what is float anyway.
    besides = int8_network_ms(corrected, float_anyway) - corrected.int8_ms
    return corrected.corrected(1.0, 1.0, 0.0, int8_ms - besides, where)
