"""Which channel counts a group may have on a target that likes multiples."""

from __future__ import annotations

__all__ = ["allowed_widths", "nearest_width"]


def allowed_widths(width: int, round_to: int, min_channels: int = 1) -> tuple[int, ...]:
    """Channel counts a group of `width` channels may be pruned to, descending, `width` itself first.

    Multiples of `round_to` below `width`. A group of at most `round_to` channels may be halved once instead
    (8 → 4 at multiples of 8), so nothing is pruned below min(round_to, width / 2) or `min_channels`.

    >>> allowed_widths(64, 16)
    (64, 48, 32, 16)
    >>> allowed_widths(16, 16)
    (16, 8)
    """
    smaller = list(range(round_to * ((width - 1) // round_to), 0, -round_to)) or [width // 2]
    return (width, *(count for count in smaller if count >= max(1, min_channels)))


def nearest_width(allowed: tuple[int, ...], wanted: float) -> int:
    """The allowed channel count nearest to `wanted`; the smaller one of two equally near."""
    return min(allowed, key=lambda count: (abs(count - wanted), count))
