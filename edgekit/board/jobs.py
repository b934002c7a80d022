"""Jobs of another machine on this board: folders that outlive the connection they came over.

WORK/jobs/ID holds one. ID is KEY-NONCE: the key is that of the job's content, so that the same command finds what it
had begun. In the folder:
    request.json   what was asked (see `create`), job.json and the files that it names (coordinator.py)
    alive          locked by the job's keeper while that lives (keeper.py); what is in it: {pid}
    progress       lines of JSON, only ever added to; log: what the runner said on standard error
    state.json     written once, at the end: {state "done", outputs, notes} or {state "failed" or "stopped", cause}
    follower       the token of the edgekit that follows the job; its time is that of the last question
"""

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import time
from typing import Any, Dict, Iterator, List, Optional

from .blobs import Blobs
from .booted import boot_id
from .files import is_safe, read_json, write_atomically, write_json
from .process import command

FOLLOWED_S = 10.0  # a follower that asked nothing for so long has lost its link, or its life
LOG_LINES = 5
PROGRESS_BYTES = 1 << 16  # of one answer
KEPT_RESULT_S = 24 * 3600.0  # a result that nobody fetched is believed for so long


class Jobs(object):
    """The jobs in a work folder. `boot_path`: see `booted.boot_id`."""

    def __init__(self, work: str, boot_path: str) -> None:
        self.work = work
        self.boot_path = boot_path
        self.folder = os.path.join(work, "jobs")
        os.makedirs(self.folder, exist_ok=True)

    def place(self, name: str) -> str:
        """The folder of a job. Raises ValueError for what is no job's name."""
        if not is_safe(name) or "/" in name:
            raise ValueError("%r is no job" % name)
        return os.path.join(self.folder, name)

    def start(self, request: Dict[str, Any], lock_folder: str) -> Dict[str, Any]:
        """Begin a job, or find the one of the same content that nobody follows any more.

        `request`: id, key, token, owner, job, files {name in the job: SHA-256}, before, after, timeout_s, fresh (take
        no other's). Gives {id, found: begun before}, {missing: SHA-256s} or {followed_s: since the last question of
        the one that follows the same job}. Raises OSError; Damaged where a stored file was.
        """
        os.makedirs(self.folder, exist_ok=True)
        with self._only_one():
            folder = self.place(request["id"])
            if os.path.isdir(folder):  # asked again, because the answer was lost
                if not os.path.exists(os.path.join(folder, "alive")):
                    self._spawn(request["id"], lock_folder)
                return {"id": request["id"], "found": False}
            if not request.get("fresh"):
                earlier = self._earlier(request)
                if earlier:
                    return earlier
            blobs = Blobs(self.work)
            missing = blobs.missing(sorted(set(request["files"].values())))
            if missing:
                return {"missing": missing}
            self._create(request, blobs)
            self._spawn(request["id"], lock_folder)
        return {"id": request["id"], "found": False}

    def _create(self, request: Dict[str, Any], blobs: Blobs) -> None:
        draft = os.path.join(self.folder, ".new-" + request["id"])
        shutil.rmtree(draft, ignore_errors=True)
        os.makedirs(draft)
        try:
            for name, digest in request["files"].items():
                if not is_safe(name):
                    raise ValueError("%r is not a name inside a job" % name)
                blobs.place(digest, os.path.join(draft, "files", name))
            os.makedirs(os.path.join(draft, "files"), exist_ok=True)
            write_json(os.path.join(draft, "files", "job.json"), request["job"])
            kept = dict(request, boot=boot_id(self.boot_path))
            write_json(os.path.join(draft, "request.json"), kept)
            for name in ("progress", "log"):
                open(os.path.join(draft, name), "wb").close()
            with open(os.path.join(draft, "follower"), "w") as file:
                file.write(request["token"])
            os.rename(draft, self.place(request["id"]))
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _spawn(self, name: str, lock_folder: str) -> None:
        """The keeper, in a session of its own: the end of this connection is not its end. Returns when it keeps.

        One that cannot start leaves its words in the log, and a job without a keeper, which reads as one that died.
        """
        with open(os.path.join(self.place(name), "log"), "ab") as log:
            subprocess.run(
                command("keep", self.work, name, "--lock", lock_folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.work,
                start_new_session=True,
                check=False,
            )

    def _earlier(self, request: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        for name in sorted(os.listdir(self.folder)):
            if not name.startswith(request["key"] + "-"):
                continue
            folder, state = self.place(name), self.state(name)["state"]
            token, asked_s = self._follower(folder)
            is_followed = token not in ("", request["token"]) and asked_s < FOLLOWED_S
            is_fresh = state == "done" and _age_s(folder, "state.json") < KEPT_RESULT_S
            if state == "running" or is_fresh:
                if is_followed:
                    return {"followed_s": asked_s}
                self._follow(folder, request["token"])
                return {"id": name, "found": True}
            if not is_followed:
                shutil.rmtree(folder, ignore_errors=True)
        return None

    def look(self, name: str, token: str, offset: int) -> Dict[str, Any]:
        """How the job stands: see `state`; `progress` from `offset` on as whole lines, `next`: the offset then.

        The state "taken" says that another edgekit follows it by now.
        """
        folder = self.place(name)
        if not os.path.isdir(folder):
            return {"state": "gone"}
        if self._follower(folder)[0] != token:
            return {"state": "taken"}
        seen = self.state(name)  # before the progress is read, so that all of a finished job's is
        self._follow(folder, token)
        with open(os.path.join(folder, "progress"), "rb") as file:
            file.seek(offset)
            piece = file.read(PROGRESS_BYTES)
        whole = piece[: piece.rfind(b"\n") + 1]
        seen.update(progress=whole.decode("utf-8").splitlines(), next=offset + len(whole))
        return seen

    def state(self, name: str) -> Dict[str, Any]:
        """The content of state.json; or "running"; "died", with the last words; "rebooted": it died with the system."""
        folder = self.place(name)
        for _ in range(2):  # it may end between the two looks
            with contextlib.suppress(OSError, ValueError):
                return dict(read_json(os.path.join(folder, "state.json")))
            if is_alive(folder):
                return {"state": "running"}
        if not os.path.isdir(folder):
            return {"state": "gone"}
        boot = None
        with contextlib.suppress(OSError, ValueError):
            boot = read_json(os.path.join(folder, "request.json"))["boot"]
        if boot is not None and boot != boot_id(self.boot_path):
            return {"state": "rebooted"}
        return {"state": "died", "cause": last_words(folder)}

    def end(self, name: str, token: str) -> None:
        """The result is safe where it was asked for: the job goes."""
        folder = self.place(name)
        if os.path.isdir(folder) and self._follower(folder)[0] == token:
            gone = os.path.join(self.folder, ".gone-" + name)
            os.rename(folder, gone)
            shutil.rmtree(gone, ignore_errors=True)

    def release(self, name: str, token: str) -> None:
        """Nobody follows the job from now on; it goes on."""
        folder = self.place(name)
        if os.path.isdir(folder) and self._follower(folder)[0] == token:
            self._follow(folder, "")

    def clean(self, older_than_s: float) -> int:
        """Remove jobs that are not running and that nobody has asked for so long, and half-made ones.

        Gives how many are running.
        """
        running = 0
        with self._only_one():
            for name in os.listdir(self.folder):
                folder = os.path.join(self.folder, name)
                if name.startswith("."):
                    if os.path.isdir(folder):
                        shutil.rmtree(folder, ignore_errors=True)
                elif self.state(name)["state"] == "running":
                    running += 1
                elif self._follower(folder)[1] >= older_than_s:
                    shutil.rmtree(folder, ignore_errors=True)
        return running

    def _follower(self, folder: str) -> Any:
        """Its token, and seconds since its last question."""
        path = os.path.join(folder, "follower")
        try:
            with open(path) as file:
                return file.read(), max(0.0, time.time() - os.stat(path).st_mtime)
        except OSError:
            return "", float("inf")

    def _follow(self, folder: str, token: str) -> None:
        """A new token is written whole; the same one gets a new time only, which wears no memory card."""
        path = os.path.join(folder, "follower")
        if self._follower(folder)[0] == token:
            os.utime(path)
        else:
            write_atomically(path, token.encode("ascii"))

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        with open(os.path.join(self.folder, ".lock"), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def is_alive(folder: str) -> bool:
    """Whether the job's keeper lives: it holds a lock as long."""
    try:
        with open(os.path.join(folder, "alive"), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    return False


def last_words(folder: str) -> str:
    """The last lines that a job's processes said."""
    try:
        with open(os.path.join(folder, "log"), "rb") as file:
            lines: List[str] = file.read()[-8192:].decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return " / ".join(lines[-LOG_LINES:])


def _age_s(folder: str, name: str) -> float:
    try:
        return time.time() - os.stat(os.path.join(folder, name)).st_mtime
    except OSError:
        return float("inf")
