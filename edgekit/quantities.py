"""Quantities as people write them: latencies, durations, sizes, shares."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from edgekit.errors import BudgetError

__all__ = [
    "parse_fraction",
    "parse_latency_ms",
    "parse_seconds",
    "parse_size_bytes",
    "read_confidence",
    "read_drop",
]

QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Zµμ%]*)\s*")
LATENCY_MS = {"": 1.0, "ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}
SECONDS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SHARES = {"": 1.0, "%": 0.01}

LARGEST_BARE_DROP = 0.3
"""A loss of accuracy above it that is given without a sign is more likely meant in percent."""


def parse_latency_ms(text: str) -> float:
    """Milliseconds from '2ms', '1.5s', '800us' or '2' (milliseconds). Raises BudgetError."""
    return _quantity(text, LATENCY_MS, "a latency", "a number above 0 with ms, us or s, as 2ms")


def parse_seconds(text: str) -> float:
    """Seconds from '30m', '2h', '90s' or '90' (seconds). Raises BudgetError."""
    return _quantity(text, SECONDS, "a duration", "a number above 0 with s, m or h, as 30m")


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


def read_drop(given: str | float | None) -> float | None:
    """The accuracy that may be lost, as a fraction, from '1%', '0.01' or 0.01; None is no limit.

    Raises BudgetError, with both readings, for a bare number above 0.3: 1 is one point to some and all to others.
    """
    if given is None:
        return None
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


def _quantity(text: str, units: Mapping[str, float], kind: str, allowed: str, *, zero: bool = False) -> float:
    match = QUANTITY.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or unit not in units:
        raise BudgetError(f"{text!r} is not {kind}", allowed=allowed)
    value = float(match[1]) * units[unit]
    if not math.isfinite(value) or (value == 0 and not zero):
        raise BudgetError(f"{text!r} is not {kind}", allowed=allowed)
    return value
