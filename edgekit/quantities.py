"""Quantities as people write them: latencies, durations, sizes, shares."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from edgekit.errors import BudgetError, ModelError
from edgekit.labels import ERROR_METRICS
from edgekit.types import InputShape

__all__ = [
    "parse_energy_mj",
    "parse_fraction",
    "parse_input_shape",
    "parse_latency_ms",
    "parse_seconds",
    "parse_size_bytes",
    "read_confidence",
    "read_drop",
    "read_input_shapes",
    "told_seconds",
]

QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Zµμ%]*)\s*")
LATENCY_MS = {"": 1.0, "ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}
ENERGY_MJ = {"": 1.0, "uj": 1e-3, "µj": 1e-3, "μj": 1e-3, "mj": 1.0, "j": 1e3}
SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SHARES = {"": 1.0, "%": 0.01}

LARGEST_BARE_DROP = 0.3
"""A loss of accuracy above it that is given without a sign is more likely meant in percent."""


def parse_latency_ms(text: str) -> float:
    """Milliseconds from '2ms', '1.5s', '800us' or '2' (milliseconds). Raises BudgetError."""
    return _quantity(text, LATENCY_MS, "a latency", "a number above 0 with ms, us or s, as 2ms")


def parse_energy_mj(text: str) -> float:
    """Millijoules from '5mJ', '0.2J', '800uJ' or '5' (millijoules). Raises BudgetError."""
    return _quantity(text, ENERGY_MJ, "an energy", "a number above 0 with uJ, mJ or J, as 5mJ")


def parse_seconds(text: str) -> float:
    """Seconds from '30m', '2h', '90s' or '90' (seconds). Raises BudgetError."""
    return _quantity(text, SECONDS, "a duration", "a number above 0 with s, m or h, as 30m")


def told_seconds(seconds: float) -> str:
    """A duration as one would ask for it: '30m', '2h', '90s', '0.1s'."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def parse_size_bytes(text: str) -> int:
    """Bytes from '2MB' (10^6), '2MiB' (2^20) or '2000' (bytes). Raises BudgetError."""
    size = _quantity(text, BYTES, "a size", "a number above 0 with kB, MB, GB, KiB, MiB or GiB, as 2MB")
    if size < 1:
        raise BudgetError(f"{text!r} is no size", allowed="one byte or more, as 2MB")
    return round(size)


def parse_fraction(text: str) -> float:
    """A share from '1%' or '0.01', 0 to 1. Raises BudgetError."""
    allowed = "0% to 100%, or 0 to 1, as 1% or 0.01"
    share = _quantity(text, SHARES, "a share", allowed, zero=True)
    if share > 1:
        raise BudgetError(f"{text!r} is no share", allowed=allowed)
    return share


def read_drop(given: str | float | None, metric: str | None = None) -> float | None:
    """The accuracy that may be lost, as a fraction, from '1%', '0.01' or 0.01; None is no limit.

    An error (`metric` rmse or mae) has the unit of the labels: what may be added to it comes as a bare number in that
    unit. Raises BudgetError: for a share of an error, and, with both readings, for a bare number above 0.3 otherwise,
    as 1 is one point to some and all to others.
    """
    if given is None:
        return None
    if metric in ERROR_METRICS:
        text = str(given)
        if "%" in text:
            raise BudgetError(
                f"an accuracy drop of {text} with the metric {metric}, which has the labels' unit",
                allowed="what may be added to the error, in that unit, as --max-drop 0.05 (max_drop=0.05)",
                remedy="or --metric r2, of which one point can be lost",
            )
        return _quantity(text, {"": 1.0}, "an error", "a number of 0 or more", zero=True)
    if isinstance(given, str):
        share = _quantity(given, SHARES, "a share", "0% to 100%, or 0 to 0.3, as 1% or 0.01", zero=True)
    else:
        share = float(given)
    bare = not isinstance(given, str) or "%" not in given
    if bare and share > LARGEST_BARE_DROP:
        other = f"; or {100 * share:g}%, if that is meant" if share <= 1 else ""
        raise BudgetError(
            f"an accuracy drop of {given} can be read as {share:g}% or as {100 * share:g}%",
            allowed=f"{share:g}% or {share / 100:g}{other}",
        )
    if share > 1 or not math.isfinite(share):
        raise BudgetError(f"{given!r} is no share", allowed="0% to 100%, as 1% or 0.01")
    return share


def read_confidence(given: str | float | None) -> float | None:
    """The confidence of an interval, as a share, from '95%', '0.95' or 0.95; None is none.

    Raises BudgetError outside of 50 % to 99.99 %.
    """
    if given is None:
        return None
    allowed = "50% to 99.99%, as 95% or 0.95"
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    share = float(given) if is_number else _quantity(str(given), SHARES, "a confidence", allowed)
    if not 0.5 <= share <= 0.9999:
        raise BudgetError(f"{given!r} is no confidence", allowed=allowed)
    return share


def parse_input_shape(text: str) -> InputShape:
    """A shape from 'x=1x3x320x320', or '1x3x320x320' without a name; commas do as well. Raises ModelError."""
    name, named, sizes = text.rpartition("=")
    match = re.fullmatch(r"\s*([0-9]{1,9})(?:\s*[x,]\s*[0-9]{1,9})*\s*", sizes)
    dims = tuple(int(size) for size in re.findall("[0-9]+", sizes)) if match else ()
    if not dims or 0 in dims or (named and not name.strip()):
        raise ModelError(
            f"--input-shape {text!r}",
            allowed="whole numbers above 0, batch first, as 1x3x32x32, or with the input's name, as x=1x3x32x32",
        )
    return InputShape(name.strip(), dims)


def read_input_shapes(
    given: str | Mapping[str, Sequence[int]] | Iterable[str | InputShape],
) -> tuple[InputShape, ...]:
    """Shapes as Python callers give them: one text, several, or {"x": (1, 3, 320, 320)}. Raises ModelError."""
    if isinstance(given, Mapping):
        given = [f"{name}={'x'.join(str(size) for size in sizes)}" for name, sizes in given.items()]
    texts = [given] if isinstance(given, str) else given
    return tuple(parse_input_shape(shape) if isinstance(shape, str) else shape for shape in texts)


def _quantity(text: str, units: Mapping[str, float], kind: str, allowed: str, *, zero: bool = False) -> float:
    match = QUANTITY.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or unit not in units:
        raise BudgetError(f"{text!r} is not {kind}", allowed=allowed)
    value = float(match[1]) * units[unit]
    if not math.isfinite(value) or (value == 0 and not zero):
        raise BudgetError(f"{text!r} is not {kind}", allowed=allowed)
    return value
