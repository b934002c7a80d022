"""Following one job on a board: begun once, picked up after each loss of the link, its result taken once."""

from __future__ import annotations

import getpass
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from typing import Any

from edgekit.devices.base import JobProgress
from edgekit.devices.ssh.link import SLOW_ANSWER_S
from edgekit.devices.ssh.packing import Parcel
from edgekit.devices.ssh.pushing import bring, refused
from edgekit.devices.ssh.reaching import Reach
from edgekit.devices.ssh.trouble import RemoteProblem
from edgekit.errors import DeviceError, StageError

__all__ = ["Follower", "Placed"]

SHORTEST_LOOK_S, LONGEST_LOOK_S = 0.1, 1.0
GRACE_S = 300.0
"""Beyond the job's own limit, for the commands around it; then the board's keeper is taken for stuck."""

STARVED_BYTES = 1 << 20  # less than this left: what ended without a reason ended for want of room
STARTS = 4  # of one job: a board that restarts again and again is not measured


AGAIN = {
    "rebooted": "the board restarted during the measurement: measured anew",
    "gone": "the work folder on the board was removed during the measurement: measured anew",
    "taken": "another edgekit took the measurement over while the link was lost: measured anew",
}
"""State of a job that has to be begun again → the note that says so."""


@cache
def own_mark() -> str:
    """Tells edgekits that share a board apart; says nothing of this machine."""
    return uuid.uuid4().hex[:8]


@dataclass
class Placed:
    """A job on the board: its name there, the token that it is followed by, sentences on how it came to its end."""

    name: str
    token: str
    notes: list[str] = field(default_factory=list)


class Follower:
    """Runs one parcel. `placed` is None until the board has the job, or may have it."""

    def __init__(self, reach: Reach, parcel: Parcel, timeout_s: float, progress: JobProgress) -> None:
        self.reach = reach
        self.parcel = parcel
        self.timeout_s = timeout_s
        self.progress = progress
        self.placed: Placed | None = None
        self.notes: list[str] = []

    def follow(self) -> Mapping[str, Any]:
        """Begin the job or pick it up; gives the content of its state.json once it is done.

        Raises StageError, DeviceError as `SshDevice.run` says.
        """
        self.reach.told = lambda sentence: self.progress("wait", sentence, 0, 1) if sentence else None
        for _ in range(STARTS):
            try:
                ended = self._watch(self._begin())
            except RemoteProblem as problem:
                raise refused(problem, self.reach) from problem
            state = ended["state"]
            if state == "done":
                return ended
            if state in ("failed", "stopped", "died"):
                raise self._failure(ended)
            self.notes.append(AGAIN[state])
            self._forget()
            self.reach.drop()  # the folder of our code may be gone too: it comes with a new link
        raise DeviceError(
            f"{self.reach.address.name} lost the measurement {STARTS} times ({'; '.join(self.notes)})"
        )

    # ---- beginning -------------------------------------------------------------------------------------------

    def _begin(self) -> Placed:
        token, name = uuid.uuid4().hex, f"{self.parcel.key}-{uuid.uuid4().hex[:12]}"
        request = {
            "id": name,
            "key": self.parcel.key,
            "token": token,
            "owner": self._owner(),
            "job": self.parcel.job,
            "files": {there: file.digest for there, file in self.parcel.files.items()},
            "before": self.reach.address.before,
            "after": self.reach.address.after,
            "timeout_s": self.timeout_s,
            "fresh": False,
        }
        self.placed = Placed(name, token, self.notes)
        heard_s: float | None = None
        for _ in range(1000):
            answer = self._start(request)
            if "missing" in answer:
                wanted = set(answer["missing"])
                bring(self.reach, [file for file in self.parcel.files.values() if file.digest in wanted])
            elif "followed_s" in answer:
                if heard_s is not None and answer["followed_s"] < heard_s:
                    request["fresh"] = True  # its follower lives: this one measures for itself
                heard_s = answer["followed_s"]
                self.progress("wait", "the same measurement runs there", 0, 1)
                time.sleep(LONGEST_LOOK_S)
            else:
                if answer["found"]:
                    self.notes.append("picked up what an earlier run had begun on the board")
                self.placed = Placed(answer["id"], token, self.notes)
                return self.placed
        raise DeviceError(f"{self.reach.address.name} does not keep what is sent to it")

    def _start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Asked again after a loss it is answered by the same job: the name is this one's."""
        try:
            return self.reach.keep_at(lambda link: link.ask("start", limit_s=SLOW_ANSWER_S, request=request))
        except RemoteProblem as problem:
            if problem.kind == "damaged":  # a stored file: it was removed, and is missing now
                return {"missing": sorted(set(request["files"].values()))}
            raise

    def _owner(self) -> dict[str, str]:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = "unknown"
        since = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        return {"user": user, "edgekit": own_mark(), "since": since}

    # ---- watching --------------------------------------------------------------------------------------------

    def _watch(self, placed: Placed) -> dict[str, Any]:
        """Look until the job has ended; gives how."""
        offset, pause = 0, SHORTEST_LOOK_S
        limit_s = self.timeout_s + GRACE_S
        give_up = None
        while True:
            seen = self._look(placed, offset)
            offset = seen.get("next", offset)
            lines = [json.loads(line)["progress"] for line in seen.get("progress", ())]
            for told in lines:
                self.progress(told["stage"], told["entry"], told["done"], told["total"])
            if seen["state"] != "running" and not lines:
                return self._buried(placed, seen)
            if give_up is None and any(told["stage"] != "wait" for told in lines):
                give_up = time.monotonic() + limit_s
            if give_up is not None and time.monotonic() > give_up:
                self.reach.keep_at(lambda link: link.ask("stop", name=placed.name))
                return {"state": "failed", "kind": "time", "cause": f"nothing came for {limit_s:.0f} s"}
            pause = SHORTEST_LOOK_S if lines else min(1.3 * pause, LONGEST_LOOK_S)
            time.sleep(pause)

    def _look(self, placed: Placed, offset: int) -> dict[str, Any]:
        try:
            return self.reach.keep_at(
                lambda link: link.ask("look", name=placed.name, token=placed.token, offset=offset),
                anew=("program",),  # a job that is gone is begun again
            )
        except RemoteProblem as problem:
            if problem.kind == "gone":
                return {"state": "gone"}
            raise

    def _buried(self, placed: Placed, seen: dict[str, Any]) -> dict[str, Any]:
        """A killed keeper has left its last duty: the commands after the measurement."""
        if seen["state"] == "died":
            self.reach.keep_at(lambda link: link.ask("bury", name=placed.name))
        return seen

    def _forget(self) -> None:
        """The board removes the job, if it is this one's still."""
        placed = self.placed
        if placed is not None:
            self.reach.keep_at(lambda link: link.ask("end", name=placed.name, token=placed.token))

    def _failure(self, ended: Mapping[str, Any]) -> Exception:
        """The error of a job that ended without a result; the board forgets it."""
        address = self.reach.address
        free = self.reach.keep_at(lambda link: link.ask("describe"))["free_disk_bytes"]
        self._forget()
        if ended.get("kind") == "full" or (free is not None and free < STARVED_BYTES):
            return refused(RemoteProblem(ended.get("cause", ""), "full"), self.reach)
        if ended.get("kind") in ("stuck", "command"):
            return DeviceError(f"{address.name}: {ended['cause']}")
        cause = ended.get("cause", "")
        if ended["state"] == "died":
            cause = f"the runner was killed{': ' if cause else ''}{cause}"
        return StageError("measure", cause)
