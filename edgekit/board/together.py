"""Many small artifacts timed in one process: what a table of layers is made of.

A process each, as the coordinator has it, costs a second and tens of megabytes; a table has hundreds. So one worker
opens all of them, and its rounds are interleaved as the coordinator's are: in each, every artifact in a new order. A
round's figure is the lower quartile of its runs: whatever else runs on the machine only ever adds time, and takes more
of long runs than of short ones, which a sum of layers could not follow. A runtime that dies takes the whole worker with
it: what it was at is a failure, and the others are begun anew without it.
"""

import collections
import gc
import random
import tempfile
from typing import Any, Callable, Dict, List

import numpy as np

from .peer import EntryError, Peer
from .session import random_feeds
from .sessions.opening import open_session
from .timing import SWITCH_RUNS, durations_s

WARM_RUNS = 10
LEAST_RUNS, MOST_RUNS = 5, 1000  # of a round

Tell = Callable[[str, str, int, int], None]


class OpenedTogether(object):
    """The worker's side: sessions that lie open beside each other. `tell` hears of (done, total)."""

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self.tell = tell
        self.sessions: Dict[str, Any] = collections.OrderedDict()

    def add(self, entry: Dict[str, Any], threads: int, seed: int) -> Dict[str, Any]:
        """Open one more, and warm it up. Raises what the runtime raises."""
        session = open_session(entry["runtime"], entry["path"], entry.get("options"), threads)
        session.bind(random_feeds(session.signature, seed))
        for _ in range(WARM_RUNS):
            session.step()
        self.sessions[entry["id"]] = session
        return {}

    def rounds(self, rounds: int, seconds: float, seed: int) -> Dict[str, List[float]]:
        """Entry id -> each round's lower quartile in milliseconds; `seconds`: timed time of an entry in all rounds."""
        shuffler = random.Random(seed)
        quartiles: Dict[str, List[float]] = {name: [] for name in self.sessions}
        runs: Dict[str, int] = {}
        gc.collect()
        gc.disable()  # a collection among hundreds of sessions takes longer than what is timed
        for index in range(rounds):
            self.tell(index, rounds)
            order = list(self.sessions)
            shuffler.shuffle(order)
            for name in order:
                step = self.sessions[name].step
                before = durations_s(step, SWITCH_RUNS)
                if name not in runs:
                    wanted = seconds / rounds / max(float(np.median(before)), 1e-7)
                    runs[name] = int(min(MOST_RUNS, max(LEAST_RUNS, wanted)))
                samples = durations_s(step, runs[name])
                quartiles[name].append(round(float(np.percentile(samples, 25)) * 1e3, 6))
        gc.enable()
        return quartiles


def time_together(job: Dict[str, Any], tell: Tell) -> Dict[str, Dict[str, Any]]:
    """Entry id -> {status "ok", rounds_ms [each round's lower quartile]} or what a failed entry's result is.

    The coordinator's side. `timeout_s` is that of all entries together, as often as they are begun anew.
    """
    results: Dict[str, Dict[str, Any]] = {}
    left = list(job["entries"])
    while left:
        _attempt(job, left, results, tell)
        left = [entry for entry in left if entry["id"] not in results]
    return collections.OrderedDict((entry["id"], results[entry["id"]]) for entry in job["entries"])


def _attempt(
    job: Dict[str, Any], entries: List[Dict[str, Any]], results: Dict[str, Dict[str, Any]], tell: Tell
) -> None:
    """Measure these in one worker; `results` gets all of them, or the failure of the first that cannot be opened.

    A worker that ends while it times has failed for all of them: which one it was at is not known.
    """
    with tempfile.TemporaryFile() as errors:
        peer = Peer({}, job, errors)
        try:
            for done, entry in enumerate(entries):
                tell("load", entry["id"], done, len(entries))
                try:
                    peer.ask("add", entry=entry, threads=job["threads"], seed=job["seed"])
                except EntryError as failure:
                    results[entry["id"]] = failure.details
                    return
            try:
                quartiles = peer.ask(
                    "rounds",
                    lambda done, total: tell("time", "", done, total),
                    rounds=job["rounds"],
                    seconds=job["seconds"],
                    seed=job["seed"],
                )
            except EntryError as failure:
                results.update((entry["id"], failure.details) for entry in entries)
                return
        finally:
            peer.close()
    results.update(
        (name, {"status": "ok", "notes": [], "rounds_ms": times}) for name, times in quartiles.items()
    )
