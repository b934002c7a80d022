"""The worker: one entry of a job in a process of its own, so that a runtime that dies takes no other with it."""

import contextlib
import json
import os
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from .arrays import new_array
from .files import atomic_path
from .layers import layer_rows
from .sensors import Sensors, own_cpus
from .session import random_feeds, sample_row
from .sessions.opening import import_runtime, open_session, prepare_artifact
from .timing import SWITCH_RUNS, peak_memory_bytes, timed_runs, warm_up
from .together import OpenedTogether


class Worker(object):
    """Serves the coordinator's requests on one artifact, in its own process."""

    def __init__(self, send: Callable[[Dict[str, Any]], None]) -> None:
        self.send = send
        self.session: Any = None
        self.loaded: Dict[str, Any] = {}
        self.sensors: Optional[Sensors] = None

    def load(self, entry: Dict[str, Any], threads: int, seed: int) -> Dict[str, Any]:
        self.loaded = {"entry": entry, "threads": threads, "seed": seed}
        begin = time.perf_counter()
        import_runtime(entry["runtime"])
        import_ms = (time.perf_counter() - begin) * 1e3
        prepare_artifact(entry["runtime"], entry["path"], entry.get("options"))
        begin = time.perf_counter()
        self.session = open_session(entry["runtime"], entry["path"], entry.get("options"), threads)
        load_ms = (time.perf_counter() - begin) * 1e3
        self.session.bind(self.feeds())
        session = self.session
        return {"signature": session.signature, "runtime_facts": session.facts, "load_ms": load_ms,
                "import_ms": import_ms}  # fmt: skip

    def feeds(self) -> Dict[str, Any]:
        """The entry's inputs, or random ones."""
        files = self.loaded["entry"].get("feeds")
        if files:
            return {name: np.load(path, allow_pickle=False) for name, path in files.items()}
        return random_feeds(self.session.signature, self.loaded["seed"])

    def warmup(self, cap_s: float) -> Dict[str, Any]:
        return warm_up(self.session.step, cap_s)

    def time(self, runs: int, root: str) -> Dict[str, Any]:
        """Timed runs, and the clocks right after them: this process has not slept since."""
        import resource

        sensors = self.sensors = self.sensors or Sensors(root, own_cpus())
        timed_runs(self.session.step, min(SWITCH_RUNS, runs))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        samples = timed_runs(self.session.step, runs)
        clocks = sensors.under_load()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        return {"samples_ms": samples, "preemptions": after - before, "clock_mhz": clocks}

    def busy(self, seconds: float) -> Dict[str, Any]:
        """Infer for so long; nothing is timed singly."""
        end, runs = time.perf_counter() + seconds, 0
        while runs == 0 or time.perf_counter() < end:
            self.session.step()
            runs += 1
        return {"runs": runs}

    def memory(self) -> Dict[str, Any]:
        return {"peak_memory_bytes": peak_memory_bytes()}

    def layers(self, runs: int, parts: Optional[List[Dict[str, Any]]] = None) -> List[Dict[str, Any]]:
        """Times of the layers, from a second session with the runtime's profiler on: the first one's are over."""
        entry, feeds = self.loaded["entry"], self.feeds()
        self.session.close()

        def tell(done: int, total: int) -> None:
            self.send({"progress": [done, total]})

        options = entry.get("options") or {}
        threads = self.loaded["threads"]
        return layer_rows(entry["runtime"], entry["path"], options, threads, feeds, runs, parts or (), tell)

    def evaluate(self, inputs: Dict[str, str], outputs: str) -> Dict[str, Any]:
        """Run every sample at batch 1 and write one [N, ...] file per output, each complete or absent."""
        arrays = {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in inputs.items()}
        count = min(len(array) for array in arrays.values())
        os.makedirs(outputs, exist_ok=True)
        files: Dict[str, str] = {}
        arrays_out: Dict[str, Any] = {}
        told = time.perf_counter()
        with contextlib.ExitStack() as drafts:
            for index in range(count):
                answers = self.session.run({name: array[index : index + 1] for name, array in arrays.items()})
                for position, (name, value) in enumerate(answers.items()):
                    row = sample_row(value)
                    if name not in files:
                        files[name] = os.path.join(outputs, "%d.npy" % position)
                        draft = drafts.enter_context(atomic_path(files[name]))
                        arrays_out[name] = new_array(draft, row.dtype, (count,) + row.shape)
                    before = arrays_out[name].shape[1:]
                    if before != row.shape:
                        raise ValueError(
                            "output %s has %s for one sample, %s before" % (name, row.shape, before)
                        )
                    arrays_out[name][index] = row
                if time.perf_counter() - told > 0.2:
                    told = time.perf_counter()
                    self.send({"progress": [index + 1, count]})
            for rows in arrays_out.values():
                rows.flush()
        return {"outputs": files, "samples": count}


def serve() -> int:
    """Worker's main: requests on stdin, answers on what was stdout (now stderr, for runtimes that print).

    This is the boundary: whatever a runtime throws is its entry's failure, with its reason.
    """
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(message: Dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    worker = Worker(send)
    together = OpenedTogether(lambda done, total: send({"progress": [done, total]}))
    actions: Dict[str, Callable[..., Any]] = {
        "load": worker.load,
        "warmup": worker.warmup,
        "time": worker.time,
        "busy": worker.busy,
        "memory": worker.memory,
        "evaluate": worker.evaluate,
        "layers": worker.layers,
        "add": together.add,
        "rounds": together.rounds,
    }
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        try:
            answer = actions[request["do"]](**request["with"])
        except (Exception, SystemExit) as problem:  # noqa: BLE001
            traceback.print_exc()
            send({"error": reason(problem)})
            return 1
        send({"answer": answer})
    return 0


def reason(problem: BaseException) -> str:
    """Kind and text of what was thrown; an assertion without words is told by its place."""
    text = str(problem)
    if not text:
        place = traceback.extract_tb(problem.__traceback__)[-1]
        text = "at %s, line %s: %s" % (os.path.basename(place.filename), place.lineno, place.line)
    return "%s: %s" % (type(problem).__name__, text)
