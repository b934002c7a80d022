"""Timed inferences in this process, and the memory it took."""

import collections
import gc
import sys
import time
from typing import Any, Callable, Deque, Dict, List

import numpy as np

from .files import read_text

SWITCH_RUNS = 5  # unrecorded runs after another entry had the caches
STEADY_TOLERANCE = 0.02  # of the medians of warm-up windows


def durations_s(step: Callable[[], Any], count: int) -> List[float]:
    """Durations of `count` inferences in seconds; the garbage collector is the caller's matter."""
    # Python 3.6 has no perf_counter_ns; a float resolves nanoseconds for months of uptime.
    clock = time.perf_counter
    samples = [0.0] * count
    for index in range(count):
        begin = clock()
        step()
        samples[index] = clock() - begin
    return samples


def timed_runs(step: Callable[[], Any], count: int) -> List[float]:
    """Durations of `count` inferences in milliseconds, with the garbage collector off."""
    gc.collect()
    gc.disable()
    samples = durations_s(step, count)
    gc.enable()
    return [round(sample * 1e3, 6) for sample in samples]


def warm_up(step: Callable[[], Any], cap_s: float) -> Dict[str, Any]:
    """Run until the medians of three windows in a row agree within STEADY_TOLERANCE, or `cap_s` passes."""
    begin = time.perf_counter()
    first = timed_runs(step, 1)[0]
    count = 1
    medians: Deque[float] = collections.deque(maxlen=3)
    window = int(min(200, max(5, 50.0 / max(first, 1e-3))))
    while True:
        medians.append(float(np.median(timed_runs(step, window))))
        count += window
        steady = len(medians) == 3 and max(medians) - min(medians) <= STEADY_TOLERANCE * min(medians)
        if steady or time.perf_counter() - begin > cap_s:
            return {"runs": count, "steady": steady, "median_ms": min(medians)}


def peak_memory_bytes() -> int:
    """Highest resident set of this process. VmHWM starts at exec; ru_maxrss would remember the parent's."""
    for line in read_text("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
