"""Files inside a conversation: pieces with their length before them, an empty one at the end."""

import errno
import struct
import zlib
from typing import BinaryIO, List, Optional

from .files import PIECE_BYTES

FRAME = struct.Struct(">I")


def read_frames(stream: BinaryIO, packed: bool, into: Optional[BinaryIO]) -> Optional[OSError]:
    """Read frames (length, bytes) up to the empty one into a file. Gives the error of a disk that took no more.

    All frames are read whatever happens, so that the next request is read as one. Raises EOFError.
    """
    problem: Optional[OSError] = None
    unpacker = zlib.decompressobj() if packed else None
    while True:
        size = FRAME.unpack(_exactly(stream, FRAME.size))[0]
        if not size:
            return problem
        piece = _exactly(stream, size)
        if problem is None and into is not None:
            try:
                into.write(unpacker.decompress(piece) if unpacker else piece)
            except OSError as error:
                problem = error
            except zlib.error:
                problem = OSError(errno.EIO, "the transfer was damaged")


def write_frames(stream: BinaryIO, path: str, offset: int, packed: bool) -> None:
    """A file from `offset` on, as frames."""
    packer = zlib.compressobj(1) if packed else None
    with open(path, "rb") as file:
        file.seek(offset)
        for piece in iter(lambda: file.read(PIECE_BYTES // 4), b""):
            _write_frame(stream, packer.compress(piece) if packer else piece)
    if packer:
        _write_frame(stream, packer.flush())
    stream.write(FRAME.pack(0))
    stream.flush()


def _write_frame(stream: BinaryIO, piece: bytes) -> None:
    if piece:
        stream.write(FRAME.pack(len(piece)))
        stream.write(piece)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    pieces: List[bytes] = []
    while size:
        piece = stream.read(size)
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
