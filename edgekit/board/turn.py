"""Whose turn it is: one measurement at a time on a board, whoever asks and from wherever.

The lock is the kernel's (flock on one file of the whole board), so that it goes when its holder dies, in whatever way.
The file holds who has it, and its time is that of the holder's last sign of life. A record that is still there when
the lock is free was left by one that died.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

LOCK_FILE = "edgekit-measure.lock"
BEAT_S = 2.0
SILENT_S = 180.0  # a holder that lives and gives no sign of life for so long is stopped, or its machine is


class Stuck(Exception):
    """The holder of the lock lives but gives no sign of life."""


class Turn(object):
    """Held while a measurement runs. `notes`: what is to be said of how it was got."""

    def __init__(self, handle: Optional[int], notes: List[str]) -> None:
        self.handle = handle
        self.notes = notes

    def beat(self) -> None:
        """A sign of life."""
        if self.handle is not None:
            with contextlib.suppress(OSError):
                os.utime(self.handle)


@contextlib.contextmanager
def turn(folder: str, owner: Dict[str, Any], tell: Callable[[str], None]) -> Iterator[Turn]:
    """Wait for the board's lock in `folder` and hold it. `tell` hears who has it, whenever that changes.

    Raises Stuck. Where the file cannot be made or locked, the turn is taken without one, and says so.
    """
    try:
        handle = _acquire(os.path.join(folder, LOCK_FILE), tell)
    except OSError as error:
        yield Turn(None, ["no lock in %s (%s): another measurement may have run" % (folder, error.strerror)])
        return
    try:
        left = _record(handle)
        notes = ["took over the lock that %s left behind" % _words(left)] if left else []
        _write(handle, json.dumps(owner).encode("utf-8"))
        try:
            yield Turn(handle, notes)
        finally:
            _write(handle, b"")
    finally:
        os.close(handle)


def _acquire(path: str, tell: Callable[[str], None]) -> int:
    told = None
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                return handle
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                os.close(handle)
                raise
            holder = _record(handle)
            silent_s = time.time() - os.fstat(handle).st_mtime
            if silent_s > SILENT_S:
                os.close(handle)
                raise Stuck(
                    "%s holds the board and gave no sign of life for %d s (process %s there)"
                    % (_words(holder), silent_s, holder.get("pid", "unknown"))
                ) from error
            if holder and holder != told:
                told = holder
                tell(_words(holder))
            time.sleep(0.25)
        os.close(handle)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with contextlib.suppress(OSError):
            os.fchmod(handle, 0o666)  # whatever the umask: other users wait here too
        return handle


def _is_at(handle: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _record(handle: int) -> Dict[str, Any]:
    try:
        content = json.loads(os.pread(handle, 4096, 0).decode("utf-8") or "{}")
    except ValueError:
        return {"user": "somebody"}
    return content if isinstance(content, dict) else {}


def _write(handle: int, content: bytes) -> None:
    """Shorter or longer, never both records at once: a reader sees an old one, none or the new one."""
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, content, 0)


def _words(record: Dict[str, Any]) -> str:
    """Who, which edgekit and since when, each cut to a sane length: anybody may write the record."""
    user, mark, since = (str(record.get(key, "unknown"))[:40] for key in ("user", "edgekit", "since"))
    return "%s (edgekit %s, since %s)" % (user, mark, since)
