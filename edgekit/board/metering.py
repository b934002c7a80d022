"""The energy rounds of a job: the idle board first, then each entry in turn, with a meter running."""

import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from .energy import MeterError, Recorder, find_meter, told
from .peer import Peer

DEFAULTS = {"seconds": 5.0, "rounds": 5, "idle_s": 2.0, "meter": []}  # type: Dict[str, Any]

Seen = List[Tuple[float, Optional[float], int]]
"""Of each round: seconds, joules (None: not told), inferences."""


def meter_entries(
    job: Dict[str, Any],
    living: Callable[[], List[Peer]],
    apply: Callable[[str, Callable[[Peer], None], List[Peer]], None],
    tell: Callable[[str, str, int, int], None],
) -> None:
    """Give each living entry its `energy`; see `energy.told`. The workers sleep while the idle board is measured."""
    asked = dict(DEFAULTS, **job["energy"])
    try:
        meter = find_meter(job["root"], asked["meter"])
    except MeterError as problem:
        for peer in living():
            peer.result["energy"] = {"reason": str(problem)}
        return
    tell("energy", "", 0, asked["rounds"])
    recorder = Recorder(meter)
    time.sleep(asked["idle_s"])
    idle = recorder.stop()
    seen = {peer.entry["id"]: [] for peer in living()}  # type: Dict[str, Seen]

    def one_round(peer: Peer) -> None:
        recorder = Recorder(meter)
        runs = peer.ask("busy", seconds=asked["seconds"] / asked["rounds"])["runs"]
        seen[peer.entry["id"]].append(recorder.stop() + (runs,))

    for index in range(asked["rounds"]):
        tell("energy", "", index, asked["rounds"])
        apply("time", one_round, living())
    for peer in living():
        peer.result["energy"] = told(seen[peer.entry["id"]], idle, meter.source)
