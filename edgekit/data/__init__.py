"""Data: sources of samples, preprocessing, disjoint splits, and the checks that come before any work."""

from __future__ import annotations

from edgekit.data.base import Batch, DataSource
from edgekit.data.checks import check_data, check_values
from edgekit.data.classes import compare_classes, read_classes
from edgekit.data.extremes import most_different
from edgekit.data.opening import check_place, from_arrays, from_python, open_source
from edgekit.data.pixels import multiplied_pixels, unnormalised, unscaled_pixels
from edgekit.data.preprocess import load_preprocess, make_preprocess
from edgekit.data.splits import Split, Splits, make_splits
from edgekit.data.tokens import ATTENTION_MASK, check_tokens

__all__ = [
    "ATTENTION_MASK",
    "Batch",
    "DataSource",
    "Split",
    "Splits",
    "check_data",
    "check_place",
    "check_tokens",
    "check_values",
    "compare_classes",
    "from_arrays",
    "from_python",
    "load_preprocess",
    "make_preprocess",
    "make_splits",
    "most_different",
    "multiplied_pixels",
    "open_source",
    "read_classes",
    "unnormalised",
    "unscaled_pixels",
]
