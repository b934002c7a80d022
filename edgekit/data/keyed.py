"""Samples that come as dicts, as data sets of language and vision libraries give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.errors import DataError

__all__ = ["pair_of"]

LABELS = ("label", "labels", "target", "targets", "y")


def pair_of(name: str, sample: Mapping[Any, Any]) -> tuple[Any, Any]:
    """(x, y) of a dict with one input and one label, as {"pixel_values": x, "labels": y}.

    More inputs than one are refused: a dict does not say in which order the network takes them, and a wrong order may
    run all the same. Raises DataError.
    """
    labels = [key for key in sample if str(key).lower() in LABELS]
    inputs = [key for key in sample if key not in labels]
    if len(inputs) == len(labels) == 1:
        return sample[inputs[0]], sample[labels[0]]
    several = ", ".join(f'sample["{key}"]' for key in inputs[:3])
    raise DataError(
        f"{name} gave a dict; allowed: numpy arrays or torch tensors, (x, y), or a dict of one input and one label "
        f"({', '.join(LABELS)}); its keys are {', '.join(map(str, sample)) or 'none'}",
        remedy=f"give (({several}), label), the inputs in forward()'s order" if len(inputs) > 1 else "",
    )
