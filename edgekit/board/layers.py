"""Time per layer of an artifact, told by its own runtime: on a board as on the machine that has built it.

A row is {name, op, mean_ms, facts}: the runtime's own name and kind of a layer, the mean over the runs, and texts that
the runtime tells of it. Reading them (the network's names, precisions) is left to those who ask.
"""

import os
import tempfile
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from .forms import list_of, maybe, record, table, text, whole
from .runtimes import find_runtime
from .sessions.opening import open_session

Rows = List[Dict[str, Any]]

MOST_RUNS = 1000000

WANTED = record(
    {"runs": whole(1, MOST_RUNS)},
    {"parts": maybe(list_of(record({"path": text, "feeds": table(text)})))},
)
"""What a job asks of an entry: {runs, parts}. `parts`: [{path, feeds: {input: FILE.npy}}], networks of one layer each,
for a runtime that cannot tell layers apart. Their paths are relative to the artifact's folder."""


def layer_rows(
    runtime: str,
    path: str,
    options: Mapping[str, str],
    threads: int,
    feeds: Mapping[str, Any],
    runs: int,
    parts: Sequence[Mapping[str, Any]] = (),
    progress: Optional[Callable[[int, int], None]] = None,
) -> Rows:
    """Profile an artifact in this process, with the runtime's profiler on. `feeds`: input name -> array, batch 1.

    Rows are in execution order, those of `parts` in theirs. Raises ValueError where the runtime has no means, and what
    the runtime raises.
    """
    row = find_runtime(runtime)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        profiling = {name: value.format(scratch=scratch) for name, value in row.profiling.items()}
        with open_session(runtime, path, dict(options, **profiling), threads) as session:
            if not parts:
                return session.layer_rows(feeds, runs)
            rows = []
            folder = os.path.dirname(os.path.abspath(path))
            for index, part in enumerate(parts):
                values = {
                    name: np.load(os.path.join(folder, file), allow_pickle=False)
                    for name, file in part["feeds"].items()
                }
                mean_ms = session.part_ms(os.path.join(folder, part["path"]), values, runs, threads)
                rows.append({"name": str(index), "op": "", "mean_ms": mean_ms, "facts": {}})
                if progress:
                    progress(index + 1, len(parts))
            return rows
