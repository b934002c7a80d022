"""On a worker of a cluster: a task's files are laid out, a process does it as on one machine, its files are packed.

Each of Ray's workers keeps one process for tasks (`building.worker`): a runtime that dies, hangs or fills the memory is
told in one line, and is not tried again; only a worker that dies itself is.
"""

from __future__ import annotations

import getpass
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec

from edgekit.building.cluster.carried import Folder, Request, content_of, pack, replaced
from edgekit.building.worker import ProcessExecutor, failed_reply
from edgekit.errors import EdgekitError, StageError
from edgekit.store import Store
from edgekit.store.disk import remove_tree

__all__ = ["perform"]

LONGEST_LOG = 100_000
"""Bytes of what libraries said in one task; the end counts."""


class Workplace:
    """What one of Ray's workers keeps from task to task: a store of files that came, and a process."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.log = store.workspace("log") / "said"
        self.process = ProcessExecutor(self.log)
        self.count = 0

    def folder(self) -> Path:
        """An empty one for a task."""
        self.count += 1
        return self.store.workspace(f"task-{self.count}")

    def said(self, begin: int) -> str:
        """What libraries said from that byte on."""
        content = self.log.read_bytes()[begin:] if self.log.exists() else b""
        return content[-LONGEST_LOG:].decode("utf-8", "replace")


def perform(request: bytes, contents: Sequence[bytes]) -> bytes:
    """Do the task of a Request; gives what `carried.pack` makes of the reply. Raises nothing of edgekit's."""
    asked = msgspec.json.decode(request, type=Request)
    stage = asked.message.stage
    try:
        for path in asked.in_place:
            if not os.path.exists(path):
                raise StageError(
                    stage,
                    f"the worker on {platform.node()} cannot see {path}",
                    "put it on a file system that every worker has at that path, or leave training on this "
                    "machine: --executor process",
                )
        place = workplace(asked.store, tuple(sorted(asked.environment.items())))
        return performed_in(place, asked, contents)
    except EdgekitError as error:
        told = error if isinstance(error, StageError) else StageError(stage, str(error))
        with tempfile.TemporaryDirectory() as nothing:
            return pack(failed_reply(told), "", Path(nothing))


def performed_in(place: Workplace, asked: Request, contents: Sequence[bytes]) -> bytes:
    """The task done with what lies there. Raises StageError when the process dies or does not answer."""
    message, folder = asked.message, place.folder()
    made = folder / "made"
    made.mkdir()
    places = {store: str(place.store.folder) for store in asked.stores}
    back = {str(made): message.folder, str(place.log): asked.log}
    supply = iter(contents)
    for index, group in enumerate(asked.folders):
        came = folder / "came" / str(index)
        laid_out(place.store, group, supply, came, message.stage)
        places.update(group.places(str(came)))
        back[str(came)] = group.path
    task = msgspec.Raw(msgspec.json.encode(replaced(msgspec.json.decode(message.task), places)))
    begin = place.log.stat().st_size if place.log.exists() else 0
    back.update((there, here) for here, there in places.items())
    try:
        reply = place.process.relay(replace(message, folder=str(made), task=task), asked.timeout_s)
    except StageError as error:
        known = asked.log or str(place.log) not in error.remedy
        reply = failed_reply(error if known else StageError(error.stage, error.cause))
    finally:
        said = place.said(begin)
    answer = msgspec.json.encode(replaced(msgspec.json.decode(reply), back))
    packed = pack(answer, said, made)
    removed(folder)
    return packed


def laid_out(store: Store, group: Folder, contents: Iterator[bytes], folder: Path, stage: str) -> None:
    """The files of a folder as they lay; each is kept in the worker's store by its content."""
    for file in group.files:
        content = content_of(file, next(contents), stage)
        kept = store.entry("carried", {"sha256": file.sha256}, partial(written, content))
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(kept.path / "content", target)


def written(content: bytes | memoryview, folder: Path) -> Mapping[str, Any]:
    """A content as the file of an entry."""
    (folder / "content").write_bytes(content)
    return {}


@lru_cache(maxsize=1)
def workplace(folder: str, environment: tuple[tuple[str, str], ...]) -> Workplace:
    """The one of this process. Raises UserError when its store cannot be used."""
    os.environ.update(environment)
    return Workplace(Store.open(Path(folder) if folder else own_folder()))


def own_folder() -> Path:
    """Where a worker of somebody's cluster keeps what came. Raises StageError for one that is another user's."""
    folder = Path(tempfile.gettempdir()) / f"edgekit-ray-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise StageError("carrying", f"{folder} on {platform.node()} is not a folder of this user")
    return folder


def removed(folder: Path) -> None:
    """A task's folder with all in it; what cannot be removed goes with the worker's session."""
    with suppress(OSError):
        remove_tree(folder)
