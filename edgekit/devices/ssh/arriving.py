"""The first words with a board: what Python it has, and our code brought there where it is not yet."""

from __future__ import annotations

import asyncio
import errno
import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.devices.address import Address
from edgekit.devices.ssh.code import arrival_program, board_code
from edgekit.devices.ssh.trouble import LinkLost
from edgekit.errors import DeviceError, shortened

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

__all__ = ["Greeting", "arrive", "check_ready"]

OLDEST = (3, 6)
ARRIVAL_S = 120.0
NOT_FOUND, NOT_RUN = 127, 126  # exit codes of shells


@dataclass(frozen=True)
class Greeting:
    """`folder`: the work folder there, absolute; `program`: our code's there. `python`: its version."""

    folder: str
    program: str
    python: tuple[int, ...]
    bits: int
    has_numpy: bool


async def arrive(connection: SSHClientConnection, address: Address) -> Greeting:
    """Say hello, and bring the code. Raises DeviceError for a board that cannot take it, LinkLost."""
    code = board_code()
    sizes = [(name, size) for name, size, _digest in code.files]
    asked = {"folder": address.folder, "digest": code.digest, "sizes": sizes, "files": None}
    told = await _run(connection, address, asked, b"")
    _refuse(told, address)
    if not told["has_code"]:
        told = await _run(connection, address, {**asked, "files": code.files}, code.packed)
        _refuse(told, address)
    if not told["has_code"]:
        raise LinkLost("our code did not arrive whole")
    program = f"{told['folder']}/code/{code.digest}/board/__main__.py"
    return Greeting(told["folder"], program, tuple(told["python"]), told["bits"], told["numpy"])


def check_ready(greeting: Greeting, address: Address) -> None:
    """Raises DeviceError where nothing can be measured: no numpy, or a 32-bit system."""
    if greeting.bits != 64:
        raise DeviceError(
            f"{address.name} runs a {greeting.bits}-bit Python ({address.python})",
            allowed="a 64-bit system: the runtimes have no builds for others",
            remedy="install the 64-bit image of its system",
        )
    if not greeting.has_numpy:
        raise DeviceError(
            f"{address.python} on {address.name} has no numpy",
            remedy=f"edgekit device setup {address.name}, or there: {address.python} -m pip install numpy",
        )


async def _run(
    connection: SSHClientConnection, address: Address, asked: dict[str, Any], content: bytes
) -> dict[str, Any]:
    command = shlex.join([address.python, "-c", arrival_program()])
    question = json.dumps(asked).encode() + b"\n"
    done = await asyncio.wait_for(
        connection.run(command, input=question + content, encoding=None, check=False), ARRIVAL_S
    )
    out, err = (bytes(part or b"") for part in (done.stdout, done.stderr))  # type: ignore[arg-type]
    for line in out.splitlines():
        if line.startswith(b'{"edgekit": '):
            told: dict[str, Any] = json.loads(line)["edgekit"]
            return told
    if done.exit_status is None and done.exit_signal is None:
        raise LinkLost("the connection ended")
    raise _no_python(address, done.exit_status, (err or out).decode(errors="replace"))


def _no_python(address: Address, status: int | None, said: str) -> DeviceError:
    remedy = "install Python 3.6 or newer there, or name another one as the device's python"
    if status == NOT_FOUND:
        return DeviceError(f'no program "{address.python}" on {address.name}', remedy=remedy)
    if "SyntaxError" in said:
        return DeviceError(f'"{address.python}" on {address.name} is no Python 3', remedy=remedy)
    last = shortened((said.strip().splitlines() or ["it said nothing"])[-1], 120)
    how = "cannot be run" if status == NOT_RUN else f"ended with {status}"
    return DeviceError(f'"{address.python}" on {address.name} {how}: {last}', remedy=remedy)


def _refuse(told: dict[str, Any], address: Address) -> None:
    version = tuple(told["python"])
    if version[:2] < OLDEST:
        raise DeviceError(
            f"{address.python} on {address.name} is Python {'.'.join(map(str, version))}",
            allowed="Python 3.6 or newer",
            remedy="name another one there as the device's python",
        )
    problem = told.get("problem")
    if problem is None:
        return
    folder = f"the work folder {told['folder']} on {address.name}"
    other = "name another one as the device's folder"
    if problem == "strange":
        raise DeviceError(f"{folder} holds other things than edgekit's", remedy=other)
    if problem in ("cut", "damaged"):
        raise LinkLost("our code did not arrive whole")
    if told["errno"] in (errno.ENOSPC, errno.EDQUOT):
        raise DeviceError(f"{folder}: its disk is full", remedy=f"make room there, or {other}")
    raise DeviceError(f"{folder} cannot be written: {problem}", remedy=other)
