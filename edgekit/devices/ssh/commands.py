"""Commands on a board whose owner has asked for them: word by word, each quoted, none made of pasted text."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.devices.address import Address
from edgekit.devices.ssh.background import wait_for
from edgekit.devices.ssh.connecting import connect
from edgekit.errors import DeviceError, shortened

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

__all__ = ["bring_files", "run_words"]

LONGEST_S = 1800.0
"""Of one command: an installation on a slow card."""

PUT = 'mkdir -p "$(dirname "$1")" && cat > "$1.part" && mv "$1.part" "$1"'


def run_words(address: Address, words: Sequence[str]) -> str:
    """Run a program in the login's home folder and give what it printed. Raises DeviceError where it fails."""
    return wait_for(_within(address, [(list(words), b"")]))


def bring_files(address: Address, files: Sequence[tuple[Path, str]]) -> None:
    """Write files there, (file here, path there) each: whole under its name, or not at all. Raises DeviceError."""
    steps = [(["sh", "-c", PUT, "put", place], path.read_bytes()) for path, place in files]
    wait_for(_within(address, steps))


async def _within(address: Address, steps: Sequence[tuple[list[str], bytes]]) -> str:
    connections = await connect(address)
    try:
        printed = ""
        for words, given in steps:
            printed = await _run(connections[0], address, words, given)
        return printed
    finally:
        for connection in connections:
            connection.abort()


async def _run(connection: SSHClientConnection, address: Address, words: list[str], given: bytes) -> str:
    import asyncssh

    try:
        done = await asyncio.wait_for(
            connection.run(shlex.join(words), input=given, encoding=None, check=False), LONGEST_S
        )
    except (asyncssh.Error, OSError, asyncio.TimeoutError) as error:
        raise DeviceError(f"{address.name}: the connection ended within {words[0]}: {error}") from error
    out, err = (bytes(part or b"").decode(errors="replace") for part in (done.stdout, done.stderr))  # type: ignore[arg-type]
    if done.exit_status != 0:  # None: the connection ended
        how = "the connection ended" if done.exit_status is None else f"exit code {done.exit_status}"
        last = shortened((err.strip().splitlines() or ["it said nothing"])[-1], 200)
        raise DeviceError(f"{address.name}: {shlex.join(words)[:120]}: {how}: {last}")
    return out
