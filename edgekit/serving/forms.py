"""multipart/form-data whose bytes are all there, by python-multipart's parser: nothing is written to a disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from edgekit.errors import in_one_line
from edgekit.serving.problems import RequestProblem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["FormPart", "read_form"]

MOST_PARTS = 64


@dataclass
class FormPart:
    """One part. `kind` is its content type; a plain field, which has none, is taken as JSON."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)

    @property
    def name(self) -> str:
        return self._disposition().get(b"name", b"").decode("utf-8", "replace")

    @property
    def kind(self) -> str:
        usual = b"application/octet-stream" if b"filename" in self._disposition() else b"application/json"
        return self.headers.get(b"content-type", usual).decode("latin-1")

    def _disposition(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers.get(b"content-disposition", b""))[1]


@dataclass
class _Form:
    """The parser's callbacks; `is_whole` once the last boundary has come."""

    parts: list[FormPart] = field(default_factory=list)
    is_whole: bool = False
    name: bytes = b""
    value: bytes = b""

    def on_part_begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            raise RequestProblem(413, f"the form has more than {MOST_PARTS} parts")
        self.parts.append(FormPart())

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        self.parts[-1].headers[self.name.lower()] = self.value
        self.name = self.value = b""

    def on_end(self) -> None:
        self.is_whole = True

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self.on_part_begin,
            "on_part_data": self.on_part_data,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_end": self.on_end,
        }


def read_form(content_type: str, body: bytes | bytearray) -> dict[str, FormPart]:
    """The parts of a form by name. Raises RequestProblem, 400, for one that is cut, damaged or names a part twice."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise RequestProblem(400, "the form's content type names no boundary")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(bytes(body))
        parser.finalize()
    except FormParserError as problem:
        raise RequestProblem(400, f"the form cannot be read: {in_one_line(problem)}") from problem
    if not form.is_whole:
        raise RequestProblem(400, "the form is cut: its last boundary is missing")
    parts: dict[str, FormPart] = {}
    for part in form.parts:
        if part.name in parts:
            raise RequestProblem(400, f"the form has two parts named {part.name}")
        parts[part.name] = part
    return parts
