"""Measuring: percentiles and accuracy with their intervals, and the environment beside every number."""

from __future__ import annotations

from edgekit.measure.accuracy import (
    compare_scores,
    estimate_drop,
    estimate_mean,
    evaluate,
    likeness,
)
from edgekit.measure.environment import read_environment
from edgekit.measure.latency import summarize_latency
from edgekit.measure.metrics import METRICS, find_metric, holds_class_scores
from edgekit.measure.weakness import find_weakness

__all__ = [
    "METRICS",
    "compare_scores",
    "estimate_drop",
    "estimate_mean",
    "evaluate",
    "find_metric",
    "find_weakness",
    "holds_class_scores",
    "likeness",
    "read_environment",
    "summarize_latency",
]
