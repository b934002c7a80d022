"""Measuring: percentiles and accuracy with their intervals, and the environment beside every number."""

from __future__ import annotations

from edgekit.measure.accuracy import (
    compare_scores,
    estimate_drop,
    estimate_mean,
    estimate_skewed_drop,
    evaluate,
)
from edgekit.measure.agreement import agreement_of
from edgekit.measure.environment import read_environment
from edgekit.measure.latency import summarize_latency
from edgekit.measure.metrics import METRICS, find_metric, holds_class_scores
from edgekit.measure.scoring import Scoring, default_metric, find_scoring
from edgekit.measure.weakness import find_weakness, little_told

__all__ = [
    "METRICS",
    "Scoring",
    "agreement_of",
    "compare_scores",
    "default_metric",
    "estimate_drop",
    "estimate_mean",
    "estimate_skewed_drop",
    "evaluate",
    "find_metric",
    "find_scoring",
    "find_weakness",
    "holds_class_scores",
    "little_told",
    "read_environment",
    "summarize_latency",
]
