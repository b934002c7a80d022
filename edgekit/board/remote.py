"""Answers another machine's edgekit, over the standard input and output of one SSH channel.

A question is one line of JSON, {"do": name, …}; an answer is one line, {"edgekit": {…}}, or
{"edgekit": {"error": text, "kind": …}}. Files follow as frames (frames.py). Shells may have printed lines before: what
does not begin as an answer is none. All state is in the work folder: the connection may end at any moment.
"""

import contextlib
import errno
import json
import os
import shutil
import signal
import sys
import time
from typing import Any, BinaryIO, Dict

from .arrive import MARKER
from .blobs import Blobs, Damaged
from .files import is_safe, read_json
from .frames import read_frames, write_frames
from .jobs import Jobs, is_alive
from .keeper import Keeper, failed_by
from .machine import describe

STOP_S = 20.0


class Remote(object):
    """One connection's answers."""

    def __init__(self, work: str, lock_folder: str, boot_path: str, given: BinaryIO, told: BinaryIO) -> None:
        self.work, self.lock_folder = work, lock_folder
        self.blobs, self.jobs = Blobs(work), Jobs(work, boot_path)
        self.given, self.told = given, told

    def answer(self, content: Dict[str, Any]) -> None:
        self.told.write(b'{"edgekit": %s}\n' % json.dumps(content).encode("utf-8"))
        self.told.flush()

    def serve(self) -> None:
        """Answer until the input ends."""
        for line in iter(self.given.readline, b""):
            asked = json.loads(line.decode("utf-8"))
            try:
                os.stat(os.path.join(self.work, MARKER))  # in a folder that was removed nothing is made
                getattr(self, "do_" + asked.pop("do"))(**asked)
            except Damaged as problem:
                self.answer({"error": str(problem), "kind": "damaged"})
            except OSError as problem:
                self.answer({"error": str(problem), "kind": kind_of(problem)})
            except ValueError as problem:
                self.answer({"error": str(problem), "kind": "value"})

    def do_describe(self) -> None:
        self.answer(dict(describe(self.work)))

    def do_have(self, digests: Any) -> None:
        self.answer({"missing": self.blobs.missing(digests)})

    def do_put(self, digest: str, size: int, packed: bool) -> None:
        with self.blobs.receiving(digest, size) as draft:
            self.answer({"offset": draft.offset})
            problem = read_frames(self.given, packed, draft.file)
            if problem:
                raise problem
        self.answer({})

    def do_get(self, name: str, offset: int, packed: bool) -> None:
        """A file of the work folder."""
        if not is_safe(name):
            raise ValueError("%r is not a name inside the work folder" % name)
        path = os.path.join(self.work, name)
        self.answer({"bytes": os.path.getsize(path)})
        write_frames(self.told, path, offset, packed)

    def do_start(self, request: Any) -> None:
        self.answer(self.jobs.start(request, self.lock_folder))

    def do_look(self, name: str, token: str, offset: int) -> None:
        self.answer(self.jobs.look(name, token, offset))

    def do_end(self, name: str, token: str) -> None:
        self.jobs.end(name, token)
        self.answer({})

    def do_release(self, name: str, token: str) -> None:
        self.jobs.release(name, token)
        self.answer({})

    def do_stop(self, name: str) -> None:
        """End a job: its keeper is asked, and killed when it does not. Its runner ends with it."""
        folder = self.jobs.place(name)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if is_alive(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(read_json(os.path.join(folder, "alive"))["pid"]), number)
            begin = time.time()
            while is_alive(folder) and time.time() - begin < STOP_S:
                time.sleep(0.05)
        self.answer({"stopped": not is_alive(folder)})

    def do_bury(self, name: str) -> None:
        """Of a job whose keeper was killed: the commands after a measurement are still due."""
        folder = self.jobs.place(name)
        notes = [] if is_alive(folder) else Keeper(folder, self.lock_folder).after()
        self.answer({"notes": notes})

    def do_clean(self, older_than_s: float, most_bytes: int) -> None:
        if not self.jobs.clean(older_than_s):
            self._clean_code(older_than_s)
        self.answer({"freed_bytes": self.blobs.clean(older_than_s, most_bytes)})

    def _clean_code(self, older_than_s: float) -> None:
        """Remove the folders of other edgekits' code."""
        own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        for name in os.listdir(os.path.join(self.work, "code")):
            folder = os.path.join(self.work, "code", name)
            if folder != own and time.time() - os.stat(folder).st_mtime >= older_than_s:
                shutil.rmtree(folder, ignore_errors=True)


def kind_of(problem: OSError) -> str:
    """What a caller does about it: "full", "readonly", "gone", or "system"."""
    if failed_by(problem)["kind"] == "full":
        return "full"
    if problem.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "readonly"
    return "gone" if problem.errno == errno.ENOENT else "system"


def main(work: str, lock_folder: str, boot_path: str) -> int:
    """Serve standard input. What a command prints goes to standard error: answers have a stream of their own."""
    told = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        Remote(work, lock_folder, boot_path, sys.stdin.buffer, told).serve()
    except (BrokenPipeError, EOFError):
        return 1
    return 0
