"""A request's body, bounded while it comes in, and what it holds by its content type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from edgekit.errors import in_one_line
from edgekit.serving.decoding import read_archive, read_array, read_json, read_picture
from edgekit.serving.problems import RequestProblem

if TYPE_CHECKING:
    from edgekit.board import Model

__all__ = ["decode_body", "read_body", "read_parts"]

IDLE_S = 30.0
"""How long a client may say nothing in the middle of a body."""
NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
ARRAYS = ("application/x-npy", "application/octet-stream", "application/x-npz", "application/zip")
TAKEN = "application/x-npy, application/x-npz, application/json, image/png (…), multipart/form-data"
MOST_PARTS = 64


async def read_body(request: Request, most_bytes: int) -> bytearray:
    """The body, never more of it than `most_bytes` in memory. Raises RequestProblem: 413, 408, 415."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most_bytes:
        raise _too_large(f"a body of {int(declared)} bytes", most_bytes)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RequestProblem(
            415, "the body is compressed as a whole", remedy="send it without Content-Encoding"
        )
    body = bytearray()
    chunks = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), IDLE_S)
        except StopAsyncIteration:
            return body
        except asyncio.TimeoutError as problem:  # another class in Python 3.10
            raise RequestProblem(
                408, f"nothing came for {IDLE_S:g} s", headers={"Connection": "close"}
            ) from problem
        except ClientDisconnect as problem:
            raise RequestProblem(400, "the client went away") from problem
        if len(body) + len(chunk) > most_bytes:
            raise _too_large("a larger body", most_bytes)
        body += chunk


def _too_large(came: str, most_bytes: int) -> RequestProblem:
    return RequestProblem(
        413, f"{came} came", allowed=f"{most_bytes} bytes", remedy="edgekit serve --max-request takes more"
    )


def kind_of(content_type: str) -> str:
    """`image/png; q=1` → `image/png`."""
    return content_type.partition(";")[0].strip().lower()


async def read_parts(request: Request, body: bytearray) -> dict[str, tuple[str, bytes]] | None:
    """The parts of a form by name, each with its content type; None where the body is no form.

    Raises RequestProblem for a form that cannot be read.
    """
    if kind_of(request.headers.get("content-type", "")) != "multipart/form-data":
        return None

    async def whole() -> AsyncGenerator[bytes, None]:
        yield bytes(body)
        yield b""

    parser = MultiPartParser(
        request.headers, whole(), max_files=MOST_PARTS, max_fields=MOST_PARTS, max_part_size=len(body)
    )
    parser.spool_max_size = len(body)  # it is in memory already: nothing is written to a disk
    parts: dict[str, tuple[str, bytes]] = {}
    try:
        form = await parser.parse()
        for name, value in form.multi_items():
            if name in parts:
                raise RequestProblem(400, f"the form has two parts named {name}")
            if isinstance(value, UploadFile):
                kind = kind_of(value.content_type or "application/octet-stream")
                parts[name] = (kind, await value.read())
            else:
                parts[name] = ("application/json", str(value).encode())
        await form.close()
    except (MultiPartException, KeyError, UnicodeDecodeError) as problem:
        message = getattr(problem, "message", "") or in_one_line(problem)
        raise RequestProblem(400, f"the form cannot be read: {message}") from problem
    return parts


def decode_body(
    model: Model,
    kind: str,
    body: bytearray | bytes,
    parts: dict[str, tuple[str, bytes]] | None,
    most_bytes: int,
) -> dict[str, Any]:
    """Stored samples by input name. Raises RequestProblem and board's SampleError. Long for large images."""
    names = tuple(spec["name"] for spec in model.inputs)
    if parts is not None:
        return _of_parts(model, names, parts, most_bytes)
    kind = kind_of(kind)
    if kind == "application/json" or kind.endswith("+json"):
        return dict(read_json(body, names))
    if not body:
        raise RequestProblem(400, "the body is empty", allowed=TAKEN)
    if kind in ARRAYS and body[: len(ZIP)] == ZIP:
        return dict(read_archive(body, "the body", most_bytes))
    if kind not in ARRAYS and not kind.startswith("image/"):
        raise RequestProblem(415, f'the content type is "{kind}"', allowed=TAKEN)
    if len(names) != 1:
        raise RequestProblem(
            422, "one array came", allowed=f"{', '.join(names)}, as a .npz file, a form or JSON"
        )
    return {names[0]: _of_one(model, 0, "the body", kind, body)}


def _of_parts(
    model: Model, names: tuple[str, ...], parts: dict[str, tuple[str, bytes]], most_bytes: int
) -> dict[str, Any]:
    """A part for each input; where there is one input, its part may have any name."""
    if len(names) == 1 and len(parts) == 1:
        parts = {names[0]: next(iter(parts.values()))}
    if set(parts) != set(names):
        raise RequestProblem(422, f"the form's parts are {sorted(parts)}", allowed=", ".join(names))
    return {name: _of_one(model, names.index(name), name, *part) for name, part in parts.items()}


def _of_one(model: Model, number: int, name: str, kind: str, content: bytearray | bytes) -> Any:
    """The samples of one input."""
    spec = model.inputs[number]
    if kind.startswith("image/"):
        return read_picture(content, name, spec, model.how(number))
    if kind == "application/json":
        own = (spec["name"],)
        return read_json(b'{"inputs":' + bytes(content) + b"}", own)[own[0]]
    if kind not in ARRAYS:
        raise RequestProblem(415, f'the content type of {name} is "{kind}"', allowed=TAKEN)
    return read_array(content, name)
