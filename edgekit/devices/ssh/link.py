"""One connection to a board and the program that answers there: requests, files up, files down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.board.frames import FRAME
from edgekit.devices.address import Address
from edgekit.devices.ssh.arriving import Greeting, arrive
from edgekit.devices.ssh.background import wait_for
from edgekit.devices.ssh.connecting import connect
from edgekit.devices.ssh.trouble import LinkLost, RemoteProblem

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection, SSHClientProcess

__all__ = ["SLOW_ANSWER_S", "Link", "Place"]

ANSWER_S = 120.0
SLOW_ANSWER_S = 600.0
"""Of requests for which a slow card is read or written as a whole."""

PIECE_BYTES = 1 << 16  # little enough that a dead socket is noticed before asyncio warns of writing to it
TRIED_BYTES = 1 << 20
WORTHWHILE = 0.9  # of its size, that the beginning of a file must be packed to


@dataclass(frozen=True)
class Place:
    """What the program on the board is told: where the board's lock lies, and what tells its starts apart."""

    lock_folder: str
    boot_id_file: str


class Link:
    """A connection. Every method raises LinkLost when it ends; after that, or a Ctrl-C, only `close` is left."""

    def __init__(self, address: Address, place: Place) -> None:
        """Connect, bring our code there if it is not yet, start it. Raises DeviceError; LinkLost."""
        self._connections: tuple[SSHClientConnection, ...] = ()
        self._process: SSHClientProcess[bytes] | None = None
        self.greeting: Greeting
        try:
            wait_for(self._open(address, place))
        except BaseException:
            self.close()
            raise

    async def _open(self, address: Address, place: Place) -> None:
        self._connections = await connect(address)
        async with _losing():
            self.greeting = await arrive(self._connections[0], address)
            program = [address.python, self.greeting.program, "remote", self.greeting.folder]
            options = ["--lock", place.lock_folder, "--boot-id", place.boot_id_file]
            self._process = await self._connections[0].create_process(
                shlex.join([*program, *options]), encoding=None
            )

    def close(self) -> None:
        """End the connection at once; what runs on the board goes on."""

        async def abort() -> None:
            for connection in self._connections:
                connection.abort()

        with contextlib.suppress(Exception):
            wait_for(abort())
        self._connections = ()

    def ask(self, do: str, *, limit_s: float = ANSWER_S, **arguments: Any) -> dict[str, Any]:
        """One request and its answer. Raises RemoteProblem."""
        return wait_for(self._ask(do, limit_s, arguments))

    async def _ask(self, do: str, limit_s: float, arguments: Mapping[str, Any]) -> dict[str, Any]:
        async with _losing():
            self._running.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            return await self._answer(limit_s)

    @property
    def _running(self) -> SSHClientProcess[bytes]:
        if self._process is None:
            raise LinkLost("the connection is closed")
        return self._process

    async def _answer(self, limit_s: float = ANSWER_S) -> dict[str, Any]:
        begin = asyncio.get_running_loop().time()
        while True:
            left_s = limit_s - (asyncio.get_running_loop().time() - begin)
            line = await asyncio.wait_for(self._running.stdout.readline(), max(left_s, 0.001))
            if line.startswith(b'{"edgekit": '):
                answer: dict[str, Any] = json.loads(line)["edgekit"]
                if "error" in answer:
                    raise RemoteProblem(answer["error"], answer["kind"])
                return answer
            if not line:
                raise await self._ended()

    async def _ended(self) -> Exception:
        """Why no answer came: the program there failed, or, without an exit status, the link did."""
        process = self._running
        with contextlib.suppress(asyncio.TimeoutError):
            said = await asyncio.wait_for(process.stderr.read(), 5.0)
            await asyncio.wait_for(process.wait_closed(), 5.0)
            if process.exit_status is not None and process.exit_status > 0:
                words = said.decode(errors="replace").strip().splitlines()[-1:] or ["no words"]
                return RemoteProblem(f"the program there ended: {words[0]}", "program")
        return LinkLost("the connection ended")

    def send(self, digest: str, path: Path) -> None:
        """Bring a file there, from where an earlier try was cut. Raises RemoteProblem, OSError."""
        packs = _is_compressible(path)
        wait_for(self._send(digest, path, packs))

    async def _send(self, digest: str, path: Path, packs: bool) -> None:
        size = os.path.getsize(path)
        with path.open("rb") as file:
            async with _losing():
                question = {"digest": digest, "size": size, "packed": packs}
                begun = await self._ask("put", ANSWER_S, question)
                file.seek(begun["offset"])
                packer = zlib.compressobj(1) if packs else None
                while piece := file.read(PIECE_BYTES):
                    await self._frame(packer.compress(piece) if packer else piece)
                if packer:
                    await self._frame(packer.flush())
                self._running.stdin.write(FRAME.pack(0))
                await self._answer(SLOW_ANSWER_S)

    async def _frame(self, piece: bytes) -> None:
        if piece:
            self._running.stdin.write(FRAME.pack(len(piece)) + piece)
            await asyncio.wait_for(self._running.stdin.drain(), ANSWER_S)
            await asyncio.sleep(0)

    def fetch(self, name: str, path: Path) -> None:
        """Bring a file of the work folder here; goes on with what lies at `path`. Raises RemoteProblem, OSError."""
        wait_for(self._fetch(name, path))

    async def _fetch(self, name: str, path: Path) -> None:
        unpacker = zlib.decompressobj()
        with path.open("ab") as file:
            async with _losing():
                await self._ask("get", ANSWER_S, {"name": name, "offset": file.tell(), "packed": True})
                while size := FRAME.unpack(await self._exactly(FRAME.size))[0]:
                    file.write(unpacker.decompress(await self._exactly(size)))

    async def _exactly(self, size: int) -> bytes:
        return await asyncio.wait_for(self._running.stdout.readexactly(size), ANSWER_S)


@contextlib.asynccontextmanager
async def _losing() -> AsyncIterator[None]:
    """Whatever a dead connection throws is LinkLost; errors of files here pass."""
    import asyncssh

    try:
        yield
    except (asyncssh.Error, EOFError, ConnectionError, asyncio.TimeoutError, TimeoutError) as error:
        raise LinkLost(str(error) or type(error).__name__) from error


def _is_compressible(path: Path) -> bool:
    """Whether the beginning of the file gets smaller; photographs and most weights do not."""
    with path.open("rb") as file:
        head = file.read(TRIED_BYTES)
    return len(zlib.compress(head, 1)) < WORTHWHILE * len(head)
