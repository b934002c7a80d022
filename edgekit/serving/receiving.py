"""A request's body, bounded while it comes in, and what it holds by its content type."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request

from edgekit.serving.decoding import read_archive, read_array, read_json, read_picture
from edgekit.serving.forms import FormPart, read_form
from edgekit.serving.problems import RequestProblem

if TYPE_CHECKING:
    from edgekit.board import Model

__all__ = ["decode_body", "kind_of", "read_body"]

LONGEST_S = 120.0
"""How long a body may take to come in: who trickles takes a place in the queue."""
ZIP = b"PK\x03\x04"
FORM = "multipart/form-data"
ARRAYS = ("application/x-npy", "application/octet-stream", "application/x-npz", "application/zip")
TAKEN = "application/x-npy, application/x-npz, application/json, image/png (…), multipart/form-data"


async def read_body(request: Request, most_bytes: int) -> bytearray:
    """The body, never more of it than `most_bytes` in memory. Raises RequestProblem: 413, 408, 415."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most_bytes:
        raise _too_large(f"a body of {int(declared)} bytes", most_bytes)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RequestProblem(
            415, "the body is compressed as a whole", remedy="send it without Content-Encoding"
        )
    try:
        return await asyncio.wait_for(_read(request, most_bytes), LONGEST_S)
    except asyncio.TimeoutError as problem:  # another class in Python 3.10
        raise RequestProblem(
            408, f"the body was not here after {LONGEST_S:g} s", headers={"Connection": "close"}
        ) from problem
    except ClientDisconnect as problem:
        raise RequestProblem(400, "the client went away") from problem


async def _read(request: Request, most_bytes: int) -> bytearray:
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > most_bytes:
            raise _too_large("a larger body", most_bytes)
        body += chunk
    return body


def _too_large(came: str, most_bytes: int) -> RequestProblem:
    return RequestProblem(
        413, f"{came} came", allowed=f"{most_bytes} bytes", remedy="edgekit serve --max-request takes more"
    )


def kind_of(content_type: str) -> str:
    """`image/png; q=1` → `image/png`."""
    return content_type.partition(";")[0].strip().lower()


def decode_body(model: Model, content_type: str, body: bytearray, most_bytes: int) -> dict[str, Any]:
    """Stored samples by input name. Raises RequestProblem. Takes long for large images."""
    names = tuple(spec["name"] for spec in model.inputs)
    kind = kind_of(content_type)
    if kind == FORM:
        return _of_parts(model, names, read_form(content_type, body))
    if kind == "application/json" or kind.endswith("+json"):
        return dict(read_json(body, names))
    if kind not in ARRAYS and not kind.startswith("image/"):
        raise RequestProblem(415, f'the content type is "{kind}"', allowed=TAKEN)
    if not body:
        raise RequestProblem(400, "the body is empty", allowed=TAKEN)
    if kind in ARRAYS and body[: len(ZIP)] == ZIP:
        return dict(read_archive(body, "the body", most_bytes))
    if len(names) != 1:
        raise RequestProblem(
            422, "one array came", allowed=f"{', '.join(names)}, as a .npz file, a form or JSON"
        )
    return {names[0]: _of_one(model, 0, "the body", kind, body)}


def _of_parts(model: Model, names: tuple[str, ...], parts: dict[str, FormPart]) -> dict[str, Any]:
    """A part for each input; where there is one input, its part may have any name."""
    if len(names) == 1 and len(parts) == 1:
        parts = {names[0]: next(iter(parts.values()))}
    if set(parts) != set(names):
        raise RequestProblem(422, f"the form's parts are {sorted(parts)}", allowed=", ".join(names))
    return {
        name: _of_one(model, names.index(name), name, kind_of(part.kind), part.content)
        for name, part in parts.items()
    }


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
