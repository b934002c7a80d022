"""Files to a board, by their hash: what is there does not travel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgekit.devices.ssh.packing import PushedFile
from edgekit.devices.ssh.reaching import Reach
from edgekit.devices.ssh.trouble import RemoteProblem
from edgekit.errors import DeviceError

if TYPE_CHECKING:
    from edgekit.devices.ssh.link import Link

__all__ = ["bring", "refused"]

TRIES = 3  # of a file that arrives damaged


def bring(reach: Reach, files: Iterable[PushedFile]) -> None:
    """Bring those that the board has not. Raises DeviceError where its disk takes no more."""
    wanted = {file.digest: file for file in files}
    if not wanted:
        return
    missing = reach.keep_at(lambda link: link.ask("have", digests=sorted(wanted))["missing"])
    for done, digest in enumerate(missing):
        file = wanted[digest]
        size_mb = file.path.stat().st_size / 1e6
        reach.told(f"sending {file.path.name} ({size_mb:.1f} MB, {done + 1} of {len(missing)})")
        _bring_one(reach, file)
    reach.told("")


def _bring_one(reach: Reach, file: PushedFile) -> None:
    def send(link: Link) -> None:
        if link.ask("have", digests=[file.digest])[
            "missing"
        ]:  # the answer to an earlier try may have been lost
            link.send(file.digest, file.path)

    for tried in range(1, TRIES + 1):
        try:
            reach.keep_at(send)
            return
        except RemoteProblem as problem:
            if problem.kind == "damaged" and tried < TRIES:
                reach.drop()
                continue
            if problem.kind == "damaged":
                text = (
                    f"{file.path.name} changed while it was sent to {reach.address.name}, or arrives damaged"
                )
                raise DeviceError(text) from problem
            raise refused(problem, reach) from problem


def refused(problem: RemoteProblem, reach: Reach) -> DeviceError:
    """What the board could not do, as the user's line."""
    name, folder = reach.address.name, reach.address.folder
    if problem.kind == "full":
        return DeviceError(
            f"the disk of {name} is full ({folder} there)",
            remedy=f"make room there, or remove what earlier measurements left: edgekit device clean {name}",
        )
    if problem.kind == "readonly":
        return DeviceError(
            f"the work folder {folder} on {name} cannot be written: {problem}",
            remedy="name another one as the device's folder",
        )
    return DeviceError(f"{name}: {problem}")
