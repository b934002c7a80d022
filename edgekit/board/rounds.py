"""The timed rounds of a job: interleaved, watched by the board's sensors, repeated where it was not steady."""

import os
import random
import time
from typing import Any, Callable, Dict, List

import numpy as np

from .peer import Peer
from .sensors import Sensors, used_s
from .steadiness import Round, WatchedRounds, certify, has_cooled, is_unsteady

PAUSES = 12  # times the pause: the longest that a board is given to cool down


class Rounds(object):
    """Times the living peers of a job. `apply` runs an action on some peers, `living` gives those left.

    `order`: ids of the entries as they took turns, round by round, repeated ones too.
    """

    def __init__(
        self,
        job: Dict[str, Any],
        sensors: Sensors,
        tell: Callable[[str, str, int, int], None],
        apply: Callable[[str, Callable[[Peer], None], List[Peer]], None],
        living: Callable[[], List[Peer]],
    ) -> None:
        self.job = job
        self.sensors = sensors
        self.tell = tell
        self.apply = apply
        self.living = living
        self.shuffler = random.Random(job["seed"])
        self.order: List[List[str]] = []

    def timed(self) -> None:
        """All rounds; where one was throttled or drifted all are run again, as often as the job allows.

        All of them: entries are compared within rounds that they shared. What counts is the last attempt.
        """
        before = self.sensors.read()
        for attempt in range(1 + self.job["repeats"]):
            if attempt:
                self.cool_down(before)
            peers = self.living()
            watched = self.rounds(peers)
            for peer in peers:
                peer.result["steadiness"] = certify(watched, peer.entry["id"], attempt + 1)
            if not any(is_unsteady(peer.result["steadiness"]) for peer in self.living()):
                return

    def cool_down(self, before: Dict[str, Any]) -> None:
        """Wait until the board is as cool as it was: at least the pause, at most PAUSES of it. It is told."""
        pause_s = self.job["pause_s"]
        begin = time.monotonic()
        while True:
            waited_s = time.monotonic() - begin
            if waited_s >= PAUSES * pause_s:
                return
            if waited_s >= pause_s and has_cooled(before, self.sensors.read()):
                return
            self.tell("cool", "", int(waited_s), int(PAUSES * pause_s))
            time.sleep(min(1.0, pause_s))

    def used_s(self) -> float:
        return used_s(os.getpid()) + sum(used_s(peer.process.pid) for peer in self.living())

    def rounds(self, peers: List[Peer]) -> WatchedRounds:
        """Interleaved rounds of these entries, each in an order of its own; the sensors around them."""
        seen: List[Round] = []
        for peer in peers:
            peer.result.update(rounds_ms=[], preemptions=0, turns=[])

        def time_round(peer: Peer) -> None:
            begin = time.monotonic()
            answer = peer.ask("time", runs=peer.entry["runs"], root=self.job["root"])
            timed_s = time.monotonic() - begin
            samples = answer["samples_ms"]
            peer.result["rounds_ms"].append(samples)
            peer.result["turns"].append(self.order[-1].index(peer.entry["id"]) + 1)
            peer.result["preemptions"] += answer["preemptions"]
            median = float(np.median(samples))
            reading = self.sensors.read()
            seen.append(Round(peer.entry["id"], median, timed_s, answer["clock_mhz"], reading))

        before, used_before_s = self.sensors.read(), self.used_s()
        for index in range(self.job["rounds"]):
            self.tell("time", "", index, self.job["rounds"])
            order = [peer for peer in self.living() if peer in peers]
            self.shuffler.shuffle(order)
            self.order.append([peer.entry["id"] for peer in order])
            self.apply("time", time_round, order)
        self.tell("time", "", self.job["rounds"], self.job["rounds"])
        return WatchedRounds(before, seen, self.sensors.read(), self.used_s() - used_before_s)
