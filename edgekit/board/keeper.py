"""The keeper of a job: a process of its own session that waits for its turn, runs the job and writes how it ended.

It outlives the connection, ends with nobody but itself, and takes its runner with it.
"""

import contextlib
import errno
import fcntl
import getpass
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from typing import Any, Dict, List, Optional

from .blobs import sizes
from .files import read_json, sha256_file, write_json
from .jobs import last_words
from .process import command
from .turn import BEAT_S, Stuck, turn

COMMAND_S = 60.0  # what one command before or after a measurement may take


class Stopped(Exception):
    """Somebody asked for the end of this job."""


class CommandFailed(Exception):
    """A command before or after the measurement did not do it."""


class Keeper(object):
    """Runs the job in `folder`."""

    def __init__(self, folder: str, lock_folder: str) -> None:
        self.folder = folder
        self.lock_folder = lock_folder
        self.request: Dict[str, Any] = read_json(os.path.join(folder, "request.json"))

    def tell(self, stage: str, entry: str) -> None:
        message = {"progress": {"stage": stage, "entry": entry, "done": 0, "total": 1}}
        with open(os.path.join(self.folder, "progress"), "ab") as file:
            file.write(json.dumps(message).encode("utf-8") + b"\n")

    def keep(self) -> Dict[str, Any]:
        """Run the job in its turn; gives the content of state.json."""
        owner = dict(self.request["owner"], pid=os.getpid(), login=_login())
        try:
            with turn(self.lock_folder, owner, lambda who: self.tell("wait", who)) as mine:
                ended = self._run(mine)
                ended.setdefault("notes", []).extend(mine.notes)
                return ended
        except Stopped:
            return {"state": "stopped", "cause": "it was stopped"}
        except Stuck as problem:
            return {"state": "failed", "kind": "stuck", "cause": str(problem)}
        except CommandFailed as problem:
            return {"state": "failed", "kind": "command", "cause": str(problem)}
        except OSError as problem:
            return failed_by(problem)

    def _run(self, mine: Any) -> Dict[str, Any]:
        try:
            for words in self.request["before"]:
                run_command(words, self.folder)
            ended = self._measure(mine)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            problems = self.after()
        return dict(ended, notes=ended.get("notes", []) + problems)

    def after(self) -> List[str]:
        """The commands that put back what those before had set, each whatever the others did. Gives what failed."""
        problems = []
        for words in self.request["after"]:
            try:
                run_command(words, self.folder)
            except (CommandFailed, OSError) as problem:
                problems.append("after the measurement: %s" % problem)
        return problems

    def _measure(self, mine: Any) -> Dict[str, Any]:
        code = self._follow_runner(mine)
        if code is None:
            cause = "the runner did not finish within %.0f s" % self.request["timeout_s"]
            return {"state": "failed", "kind": "time", "cause": cause}
        if code != 0:
            known = {item.value: item.name for item in signal.Signals}
            how = known.get(-code, "signal %d" % -code) if code < 0 else "exit code %d" % code
            words = last_words(self.folder)
            cause = "the runner ended with %s%s" % (how, ": " + words if words else "")
            return {"state": "failed", "kind": "runner", "cause": cause}
        return {"state": "done", "outputs": self._outputs()}

    def _outputs(self) -> List[Any]:
        """[name, bytes, SHA-256] of what the job wrote: its result and the entries' outputs."""
        files = os.path.join(self.folder, "files")
        given = set(self.request["files"]) | {"job.json"}
        return [
            [name, size, sha256_file(os.path.join(files, name))]
            for name, size in sorted(sizes(files).items())
            if name not in given and (name == "result.json" or name.startswith("out/"))
        ]

    def _follow_runner(self, mine: Any) -> Optional[int]:
        """Run the job; gives the exit code, or None when the time is over. Sleeps on a pipe: it takes no CPU."""
        job = os.path.join(self.folder, "files", "job.json")
        ours, theirs = os.pipe()
        with open(os.path.join(self.folder, "progress"), "ab") as progress:
            process = subprocess.Popen(
                command("run", job, "--parent", str(os.getpid())),
                stdin=subprocess.DEVNULL,
                stdout=progress,
                pass_fds=(theirs,),
            )
        os.close(theirs)
        deadline = time.monotonic() + self.request["timeout_s"]
        try:
            while True:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return None
                if select.select([ours], [], [], min(BEAT_S, left_s))[0]:
                    return process.wait()
                mine.beat()
                os.utime(os.path.join(self.folder, "alive"))  # OSError when the folder was removed: all ends
        finally:
            process.kill()
            process.wait()
            os.close(ours)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def failed_by(problem: OSError) -> Dict[str, Any]:
    """The end of a job that the system ended."""
    kind = "full" if problem.errno in (errno.ENOSPC, errno.EDQUOT) else "system"
    return {"state": "failed", "kind": kind, "cause": "%s: %s" % (type(problem).__name__, problem)}


def run_command(words: List[str], folder: str) -> None:
    """Run a command that the board's owner named. Raises CommandFailed with what it said."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
            check=False,
        )
    except OSError as problem:
        raise CommandFailed("%s: %s" % (" ".join(words), problem.strerror)) from problem
    except subprocess.TimeoutExpired as problem:
        raise CommandFailed("%s: not done within %.0f s" % (" ".join(words), COMMAND_S)) from problem
    with open(os.path.join(folder, "log"), "ab") as log:
        log.write(done.stdout)
    if done.returncode != 0:
        said = " ".join(done.stdout.decode("utf-8", "replace").split())[-200:]
        raise CommandFailed("%s: exit code %d %s" % (" ".join(words), done.returncode, said))


def main(work: str, name: str, lock_folder: str) -> int:
    """Keep one job to its end, in a process that nobody waits for; this one leaves once that has begun.

    Gives 1 where another keeper has the job, or it cannot be begun.
    """
    ours, theirs = os.pipe()
    if os.fork():
        os.close(theirs)
        return 0 if os.read(ours, 1) else 1
    os.close(ours)
    code = 1
    try:
        code = _keep(os.path.join(work, "jobs", name), lock_folder, theirs)
    except Exception:  # noqa: BLE001 (its words belong in the log, and the parent's exit code tells the rest)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)  # not back into what the parent was about


def _keep(folder: str, lock_folder: str, begun: int) -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def stop(_number: int, _frame: Any) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    draft = os.path.join(folder, ".alive-%d" % os.getpid())
    with open(draft, "wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        alive.write(json.dumps({"pid": os.getpid()}).encode("utf-8"))
        alive.flush()
        try:
            os.link(draft, os.path.join(folder, "alive"))  # locked before it has its name
        except FileExistsError:
            return 1
        finally:
            os.unlink(draft)
        os.write(begun, b"1")
        os.close(begun)
        try:
            ended = Keeper(folder, lock_folder).keep()
        except Stopped:
            ended = {"state": "stopped", "cause": "it was stopped"}
        with contextlib.suppress(FileNotFoundError):
            write_json(os.path.join(folder, "state.json"), ended)
    return 0
