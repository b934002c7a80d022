"""Quantities in words, with enough digits to tell two of them apart."""

from __future__ import annotations

import math

from edgekit.types import Estimate

__all__ = ["mj", "mj_interval", "ms", "ms_interval", "points", "points_interval", "size"]

MOST_DECIMALS = 9


def ms(value: float, *, apart_from: float | None = None, up: bool = False) -> str:
    """Milliseconds: 3.10 ms. `up` rounds upward, for a limit that the value would have to meet."""
    return f"{_fixed(value, _ms_decimals(value), apart_from, up)} ms"


def ms_interval(latency: Estimate, *, apart_from: float | None = None) -> str:
    """3.10 ms [3.05, 3.18]; the interval's high end is printed so that it differs from `apart_from`."""
    decimals = _ms_decimals(latency.value)
    high = _fixed(latency.high, decimals, apart_from, False)
    decimals = max(decimals, len(high.partition(".")[2]))
    return f"{latency.value:.{decimals}f} ms [{latency.low:.{decimals}f}, {high}]"


def mj(value: float, *, apart_from: float | None = None, up: bool = False) -> str:
    """Millijoules: 3.10 mJ. `up` rounds upward."""
    return f"{_fixed(value, _ms_decimals(value), apart_from, up)} mJ"


def mj_interval(energy: Estimate, *, apart_from: float | None = None) -> str:
    """3.10 mJ [3.05, 3.18]."""
    return ms_interval(energy, apart_from=apart_from).replace(" ms ", " mJ ")


def points(fraction: float, *, apart_from: float | None = None, up: bool = False) -> str:
    """Percentage points: 0.4 points. 0.01 is one point."""
    other = None if apart_from is None else 100 * apart_from
    text = _fixed(100 * fraction, 2, other, up)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    text = "0" if text == "-0" else text
    return f"{text} point" if text == "1" else f"{text} points"


def points_interval(drop: Estimate) -> str:
    """0.4 points [-0.1, 0.9]."""
    low, high = (points(end).partition(" ")[0] for end in (drop.low, drop.high))
    return f"{points(drop.value)} [{low}, {high}]"


def size(count: int, *, apart_from: int | None = None, up: bool = False) -> str:
    """Bytes in decimal units: 1.24 MB."""
    unit, name = next(
        ((unit, name) for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")) if abs(count) >= unit),
        (1, "bytes"),
    )
    if unit == 1:
        return f"{count} bytes"
    other = None if apart_from is None else apart_from / unit
    return f"{_fixed(count / unit, 2, other, up)} {name}"


def _ms_decimals(value: float) -> int:
    return 2 if abs(value) >= 1 else 3 if abs(value) >= 0.1 else 4


def _fixed(value: float, decimals: int, apart_from: float | None, up: bool) -> str:
    """Decimal text with as many more digits as it takes to differ from the other number (if it differs)."""
    if up:
        scale = 10**decimals
        return f"{math.ceil(value * scale) / scale:.{decimals}f}"
    if apart_from is not None and apart_from != value:
        while decimals < MOST_DECIMALS and f"{value:.{decimals}f}" == f"{apart_from:.{decimals}f}":
            decimals += 1
    return f"{value:.{decimals}f}"
