"""How many weights are zero while a training goes on."""

from __future__ import annotations

__all__ = ["share_at"]

RAMP = 0.6
"""Of the training in which zeros are made; in the rest what is left learns to do without."""

UPDATES = 20
"""Times that more zeros are made: between them the other weights make up for those that are gone."""


def share_at(progress: float, final: float) -> float:
    """The share of zeros after `progress` of a training (0 to 1), of `final` at the end: never falling.

    s = final (1 - (1 - t)^3), fast while many weights are left and slow towards the end (Zhu and Gupta 2017,
    arXiv:1710.01878, equation 1, from no zeros on), in steps.
    """
    done = min(1.0, max(0.0, progress) / RAMP)
    stepped = int(done * UPDATES + 1e-9) / UPDATES
    return float(final * (1.0 - (1.0 - stepped) ** 3))
