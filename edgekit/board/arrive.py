"""The first program on a board that may have nothing of ours: it says what is there, and takes this folder in.

Sent as a text (`python3 -c`), so it imports nothing from here, and any Python 3 can say that it is too old. It reads
one line of JSON from standard input:

    {"folder": work folder, "digest": of the code, "sizes": [[name, bytes], …],
     "files": null or [[name, bytes, sha256], …]}

then, where files are given, zlib of their bytes, one after the other; they become FOLDER/code/DIGEST/board, all of them
or nothing. It answers with one line of JSON; shells of a login may have printed other lines before it.
"""

import hashlib
import json
import os
import re
import shutil
import struct
import sys
import zlib

OLDEST = (3, 6)
MARKER = "edgekit-work.json"
TRIED_BYTES = 4096
CODE = re.compile(r"[0-9a-f]{32}(\.part-[0-9]+)?$")


def prepare(folder: str) -> None:
    """Make the work folder, and write to it. Raises OSError; ValueError for a folder that holds other things."""
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(os.path.join(folder, MARKER)) and not is_ours(folder):
        raise ValueError("strange")
    tried = os.path.join(folder, ".tried-%d" % os.getpid())
    try:
        with open(tried, "wb") as file:
            file.write(b"\0" * TRIED_BYTES)
            file.flush()
            os.fsync(file.fileno())
    finally:
        if os.path.exists(tried):
            os.unlink(tried)
    mark(folder)


def is_whole(place: str, sizes) -> bool:  # type: ignore[no-untyped-def]
    """Whether our code lies there with all its files."""
    paths = ((os.path.join(place, "board", name), size) for name, size in sizes)
    return all(os.path.isfile(path) and os.path.getsize(path) == size for path, size in paths)


def is_ours(folder: str) -> bool:
    """Whether an unmarked folder is empty, or holds just what is left of our code when it is removed as it arrives."""
    code = os.path.join(folder, "code")
    if set(os.listdir(folder)) - {"code"}:
        return False
    return not os.path.isdir(code) or all(CODE.match(name) for name in os.listdir(code))


def mark(folder: str) -> None:
    marker = os.path.join(folder, MARKER)
    if not os.path.exists(marker):
        with open(marker, "w") as text:
            text.write('{"edgekit": "work folder of measurements; may be removed as a whole"}\n')


def take_in(stream, place: str, files) -> None:  # type: ignore[no-untyped-def]
    """Read the files into `place`. Raises ValueError where one is not what its hash says."""
    draft = "%s.part-%d" % (place, os.getpid())
    unpacker = zlib.decompressobj()
    waiting = b""
    try:
        for name, size, digest in files:
            while len(waiting) < size:
                piece = stream.read(1 << 16)
                if not piece:
                    raise ValueError("cut")
                waiting += unpacker.decompress(piece)
            content, waiting = waiting[:size], waiting[size:]
            if hashlib.sha256(content).hexdigest() != digest:
                raise ValueError("damaged")
            target = os.path.join(draft, "board", name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        try:
            os.rename(draft, place)
        except OSError:
            if not os.path.isdir(place):  # another one was faster: its content is the same
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def answer(asked) -> dict:  # type: ignore[no-untyped-def, type-arg]
    """What is there, as the answer's content."""
    told = {"python": list(sys.version_info[:3]), "bits": 8 * struct.calcsize("P")}
    if sys.version_info[:2] < OLDEST:
        return told
    import importlib.util

    folder = os.path.abspath(os.path.expanduser(asked["folder"]))
    place = os.path.join(folder, "code", asked["digest"])
    told.update(folder=folder, numpy=importlib.util.find_spec("numpy") is not None)
    try:
        prepare(folder)
        if asked["files"] and not is_whole(place, asked["sizes"]):
            shutil.rmtree(place, ignore_errors=True)  # what a removal in the middle has left
            take_in(sys.stdin.buffer, place, asked["files"])
            mark(folder)  # it may have been removed meanwhile
    except (OSError, ValueError) as error:
        told["problem"] = getattr(error, "strerror", None) or str(error)
        told["errno"] = getattr(error, "errno", None)
    told["has_code"] = is_whole(place, asked["sizes"])
    return told


def main() -> None:
    """Read the question, answer it."""
    asked = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    sys.stdout.write('\n{"edgekit": %s}\n' % json.dumps(answer(asked)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
