"""What comes back of a job: each file checked by its hash, names and messages as the caller knows them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.board.files import sha256_file
from edgekit.devices.address import Address
from edgekit.devices.ssh.packing import Parcel
from edgekit.devices.ssh.reaching import Reach
from edgekit.devices.ssh.trouble import RemoteProblem
from edgekit.errors import DeviceError, StageError
from edgekit.files import tells_full

__all__ = ["fetch_checked", "read_result"]

PLACE = re.compile(r"\S*/jobs/[^/\s]+/files/(e/[0-9]+/)?")  # of an artifact there, in a runtime's message
TRIES = 3


def fetch_checked(reach: Reach, name: str, digest: str, target: Path) -> None:
    """Bring a file of the board's work folder here, whole and right or not at all. Raises StageError, OSError."""
    part = target.with_name(f".{target.name}.{digest[:16]}.part")
    try:
        for _ in range(TRIES):
            reach.keep_at(lambda link: link.fetch(name, part))
            if sha256_file(part) == digest:
                os.replace(part, target)
                return
            part.unlink()
        raise StageError("measure", f"{name} arrives damaged from {reach.address.name}")
    except RemoteProblem as problem:
        raise StageError(
            "measure", f"{reach.address.name} has {name.partition('/')[0]} no more: {problem}"
        ) from problem
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def read_result(
    raw: Mapping[str, Any], parcel: Parcel, address: Address, notes: Sequence[str]
) -> Mapping[str, Any]:
    """The runner's result with the caller's names. Raises DeviceError where an entry failed on a full disk.

    That says nothing of the entry. Raises StageError for a result of another job.
    """
    wanted = [entry["id"] for entry in parcel.job["entries"]]
    if list(raw["entries"]) != wanted:
        raise StageError(
            "measure", f"{address.name} answered with {list(raw['entries'])} instead of {wanted}"
        )
    entries = {name: _entry(entry, parcel, address) for name, entry in raw["entries"].items()}
    return {**raw, "entries": entries, "notes": [*raw["notes"], *notes]}


def _entry(entry: Mapping[str, Any], parcel: Parcel, address: Address) -> dict[str, Any]:
    if entry["status"] != "ok":
        if tells_full(entry["cause"]):
            raise DeviceError(
                f"the disk of {address.name} filled up while it measured",
                remedy=f"make room there, or: edgekit device clean {address.name}",
            )
        cause = PLACE.sub("", entry["cause"])
        return {**entry, "cause": cause, "stderr": [PLACE.sub("", line) for line in entry["stderr"]]}
    read = dict(entry)
    if "outputs" in entry:
        read["outputs"] = {name: parcel.caller_name(file) for name, file in entry["outputs"].items()}
    if "layers" in entry:
        read["layers"] = {**entry["layers"], "why": PLACE.sub("", entry["layers"]["why"])}
    return read
