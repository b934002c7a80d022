"""Observers: from the values of a tensor to its range, in one pass with flat memory; a file per kind."""

from __future__ import annotations

from edgekit.quantize.observers.kinds import OBSERVERS, Observer, make_observer
from edgekit.quantize.observers.ranges import AffineParameters, Range, affine_parameters

__all__ = ["OBSERVERS", "AffineParameters", "Observer", "Range", "affine_parameters", "make_observer"]
