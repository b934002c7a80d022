"""Percentiles of interleaved timing rounds, with intervals that respect that runs of one round are alike.

Only comparisons, the four operations and square roots are used, and sums are exact: the same rounds give the same
intervals on every machine and with every numpy from 1.13 on.
"""

import math
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np

METHOD = "rounds, Student's t"  # part of what a stored estimate depends on: another method is another name
DRIFT_LIMIT = 0.02  # of the median, from the first round to the last: less is not worth telling
DRIFT_DEVIATIONS = 2.2414  # of Kendall's S, two-sided 2.5 %
QUARTILES_APART = 1.349  # in standard deviations of a normal law

# 0.975 quantiles of Student's t, and the factor from an estimated standard deviation to its own 97.5 % upper limit
# (root of degrees of freedom over the 0.025 quantile of their chi-square), by degrees of freedom from 1 on, rounded up.
# More than these take the last, which only widens.
STUDENT = (
    12.707, 4.303, 3.183, 2.777, 2.571, 2.447, 2.365, 2.307, 2.263, 2.229, 2.201, 2.179, 2.161, 2.145, 2.132,
    2.12, 2.11, 2.101, 2.094, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.049, 2.046, 2.043,
)  # fmt: skip
DEVIATION_FACTOR = (
    31.911, 6.285, 3.729, 2.874, 2.453, 2.203, 2.036, 1.916, 1.826, 1.755, 1.698, 1.651, 1.612, 1.578, 1.548,
    1.522, 1.5, 1.479, 1.461, 1.445, 1.43, 1.416, 1.403, 1.392, 1.381, 1.371, 1.362, 1.353, 1.345, 1.337,
)  # fmt: skip


class Quantile(NamedTuple):
    """A share of the runs, and the normal law's quantile there.

    With fewer than `enough_runs` even the largest of independent runs lies below the quantile in over 2.5 % of cases
    (share ** runs > 0.025).
    """

    share: float
    deviate: float
    enough_runs: int


QUANTILES = (Quantile(0.50, 0.0, 6), Quantile(0.90, 1.2816, 36), Quantile(0.99, 2.3263, 368))


class Interval(NamedTuple):
    """A percentile of the runs and its 95 % interval, in their unit."""

    value: float
    low: float
    high: float


def percentiles(rounds_ms: Sequence[Sequence[float]]) -> List[Interval]:
    """p50, p90 and p99 over all runs, with 95 % intervals whose unit is the round.

    Runs within a round share the machine's state, so what counts is how rounds differ. The interval is the wider of
    two at each end: by how the rounds' shares of runs below the percentile differ (`_by_shares`), which holds for
    bursts, and by how the rounds' own percentiles differ (`_by_rounds`), which holds where rounds differ more than
    their runs. The high end may lie above all samples. A percentile that the runs are too few for gets a high end
    above the largest (`_beyond_the_largest`): p99 below 368 runs, 31 in each of 12 rounds. With a single round its
    runs count as independent, which understates; a single run has no width. Raises ValueError without samples, or on a
    time that is negative or not finite.
    """
    rounds = [np.sort(np.asarray(samples, dtype=np.float64)) for samples in rounds_ms if len(samples)]
    if not rounds:
        raise ValueError("no latency samples")
    ordered = np.sort(np.concatenate(rounds))
    if not np.isfinite(ordered).all() or (ordered < 0).any():
        raise ValueError("latency samples must be finite and not negative")
    return [_interval(rounds, ordered, quantile) for quantile in QUANTILES]


def drift(medians: Sequence[float]) -> float:
    """By what share of its median a run of rounds rose (or fell) from the first to the last; 0.0 if it may be chance.

    `medians`: the rounds', in their order, above zero. Told when Kendall's test for a trend rejects chance at 2.5 %
    (Mann, Econometrica 13, 1945; normal approximation with continuity correction; ties count as no trend) and the
    change by the median of all slopes (Sen, JASA 63, 1968) exceeds DRIFT_LIMIT. Fewer than six rounds never reach that.
    """
    count = len(medians)
    pairs = [(first, last) for last in range(count) for first in range(last)]
    signs = sum(
        int(medians[last] > medians[first]) - int(medians[last] < medians[first]) for first, last in pairs
    )
    variance = count * (count - 1) * (2 * count + 5) / 18.0
    if abs(signs) - 1 <= DRIFT_DEVIATIONS * math.sqrt(variance):
        return 0.0
    slopes = sorted((medians[last] - medians[first]) / (last - first) for first, last in pairs)
    change = _percentile(slopes, 0.5) * (count - 1) / _percentile(sorted(medians), 0.5)
    return change if abs(change) > DRIFT_LIMIT else 0.0


def _interval(rounds: Sequence[Any], ordered: Any, quantile: Quantile) -> Interval:
    """Of one percentile. `rounds` and `ordered`, all their runs, are sorted."""
    value = _percentile(ordered, quantile.share)
    low, high = _by_shares(rounds, ordered, quantile)
    if len(rounds) > 1:
        low_by_rounds, high_by_rounds = _by_rounds(rounds, ordered, quantile, value)
        low, high = min(low, low_by_rounds), max(high, high_by_rounds)
    high = max(high, _beyond_the_largest(ordered, quantile))
    return Interval(value, max(0.0, min(low, value)), max(high, value))


def _by_shares(rounds: Sequence[Any], ordered: Any, quantile: Quantile) -> Tuple[float, float]:
    """The percentiles at the share of runs below, less and more its uncertainty.

    Woodruff (JASA 47, 1952) with the variance of a ratio over clusters (Cochran, Sampling Techniques, 1977, section
    9A.2) and Student's t. With a single round each run is a cluster.
    """
    clusters = rounds if len(rounds) > 1 else ordered[:, None]
    if len(clusters) == 1:
        return float(ordered[0]), float(ordered[0])
    # By rank, not by the interpolated value: rounding would decide which runs lie below.
    at = ordered[int((len(ordered) - 1) * quantile.share)]
    below = [int(np.searchsorted(cluster, at, side="right")) for cluster in clusters]
    whole = sum(below) / float(len(ordered))
    residues = [count - len(cluster) * whole for count, cluster in zip(below, clusters)]
    count = len(clusters)
    squares = math.fsum(residue * residue for residue in residues)
    margin = _student(count) * math.sqrt(count / (count - 1.0) * squares) / len(ordered)
    low = _percentile(ordered, max(0.0, quantile.share - margin))
    return low, _percentile(ordered, min(1.0, quantile.share + margin))


def _by_rounds(rounds: Sequence[Any], ordered: Any, quantile: Quantile, value: float) -> Tuple[float, float]:
    """Student's t on the rounds' own percentiles, and at the high end what rounds not seen may add.

    A dozen rounds hold few from the tail of how rounds differ, so the percentile over them comes out low. Its centre
    is therefore that of a normal law of the rounds' medians added to the runs' own spread, where that is higher; and
    the uncertainty of the mean and that of the law's deviation are added as roots of squares (Zou and Donner,
    Statistics in Medicine 27, 2008).
    """
    count = len(rounds)
    mean, deviation = _moments([_percentile(samples, quantile.share) for samples in rounds])
    _, between = _moments([_percentile(samples, 0.5) for samples in rounds])
    of_all = (_percentile(ordered, 0.75) - _percentile(ordered, 0.25)) / QUARTILES_APART
    total = max(between, of_all)
    within = math.sqrt(total * total - between * between)
    widest = between * DEVIATION_FACTOR[min(count - 1, len(DEVIATION_FACTOR)) - 1]
    centre = max(value, mean + quantile.deviate * (total - within))
    of_mean = _student(count) * deviation / math.sqrt(count)
    of_law = quantile.deviate * (math.sqrt(within * within + widest * widest) - total)
    return value - of_mean, centre + math.sqrt(of_mean * of_mean + of_law * of_law)


def _beyond_the_largest(ordered: Any, quantile: Quantile) -> float:
    """Where the runs are too few, the distance from the median to the largest, stretched; else the smallest.

    The stretch is that of a Pareto tail of index 2, whose quantiles grow with the root of the number of runs.
    """
    if len(ordered) >= quantile.enough_runs:
        return float(ordered[0])
    middle = _percentile(ordered, 0.5)
    return middle + (float(ordered[-1]) - middle) * math.sqrt(quantile.enough_runs / float(len(ordered)))


def _student(count: int) -> float:
    """Student's t for the mean of so many."""
    return STUDENT[min(count - 1, len(STUDENT)) - 1]


def _moments(values: Sequence[float]) -> Tuple[float, float]:
    """Mean and standard deviation of at least two."""
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) * (value - mean) for value in values)
    return mean, math.sqrt(squares / (len(values) - 1.0))


def _percentile(ordered: Any, share: float) -> float:
    """Interpolated between the two nearest. numpy's own has rounded in another way since 1.22."""
    place = (len(ordered) - 1) * share
    below = int(place)
    part = place - below
    left, right = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    if part >= 0.5:
        return float(right - (right - left) * (1.0 - part))
    return float(left + (right - left) * part)
