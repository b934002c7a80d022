"""Turns msgspec's message into the three things a user needs: the key, what came, what is allowed there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

__all__ = ["explain"]

_WHERE = re.compile(r"^(?P<what>.*?) - at (?P<key>`key` in )?`\$(?P<path>.*)`$")
_STEP = re.compile(r"\.([\w-]+)|\[(\d+|\.\.\.)\]")


def explain(
    content: Mapping[str, Any], error: msgspec.ValidationError, wanted: object
) -> tuple[str, str, str]:
    """(key, what came, what is allowed) of the first mistake in `content`, which is no `wanted` (a type)."""
    message = str(error)
    match = _WHERE.match(message)
    what, path, is_key = message, "", False
    if match:
        what, path, is_key = match["what"], match["path"], bool(match["key"])
    kind, value, key = _descend(inspect.type_info(wanted), content, path)
    if "unknown field" in what and isinstance(kind, inspect.StructType):
        name = what.split("`")[1]
        return _join(key, name), "no such key", ", ".join(field.encode_name for field in kind.fields)
    if "missing required field" in what:
        name = what.split("`")[1]
        return _join(key, name), "this key is missing", _allowed_field(kind, name)
    if is_key and isinstance(kind, inspect.DictType):
        bad = [name for name in value if not _converts(name, kind.key_type)]
        return _join(key, str(bad[0]) if bad else ""), "no such key", _allowed(kind.key_type)
    came = f'"{value}"' if isinstance(value, str) else f"{value!r:.60}"
    return key or "the file", came, _allowed(kind) or what.removeprefix("Expected ").replace("`", "")


def _descend(kind: inspect.Type, value: Any, path: str) -> tuple[inspect.Type, Any, str]:
    """The type, the value and the key at msgspec's `path`; `[...]` is the first item that does not fit."""
    key = ""
    for name, index in _STEP.findall(path):
        kind = _plain(kind)
        if isinstance(kind, inspect.StructType) and name:
            kind = next(field.type for field in kind.fields if field.encode_name == name)
            value, key = value[name], _join(key, name)
        elif isinstance(kind, inspect.DictType):
            item = kind.value_type
            name = name or next(entry for entry in value if not _converts(value[entry], item))
            kind, value, key = item, value[name], _join(key, name)
        elif isinstance(kind, inspect.VarTupleType):
            place = int(index) if index.isdigit() else 0
            kind, value, key = kind.item_type, value[place], f"{key}[{place}]"
        else:
            break
    return _plain(kind), value, key


def _plain(kind: inspect.Type) -> inspect.Type:
    """Without documentation and without "or nothing": what a file may hold there."""
    if isinstance(kind, inspect.Metadata):
        return _plain(kind.type)
    if isinstance(kind, inspect.UnionType):
        return _plain(next(item for item in kind.types if not isinstance(item, inspect.NoneType)))
    return kind


def _converts(value: object, kind: inspect.Type) -> bool:
    """Whether `value` may stand where `kind` is wanted; only as exact as finding the culprit needs."""
    kind = _plain(kind)
    if isinstance(kind, inspect.LiteralType):
        return value in kind.values
    if isinstance(kind, inspect.StructType):
        try:
            msgspec.convert(value, kind.cls)
        except msgspec.ValidationError:
            return False
        return True
    if isinstance(kind, inspect.IntType):
        return (
            isinstance(value, int) and not isinstance(value, bool) and (kind.ge is None or value >= kind.ge)
        )
    if isinstance(kind, inspect.FloatType):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        return (kind.gt is None or value > kind.gt) and (kind.le is None or value <= kind.le)
    if isinstance(kind, inspect.StrType):
        return isinstance(value, str) and len(value) >= (kind.min_length or 0)
    return True


def _allowed_field(kind: inspect.Type, name: str) -> str:
    if not isinstance(kind, inspect.StructType):
        return ""
    return next((_allowed(field.type) for field in kind.fields if field.encode_name == name), "")


def _allowed(kind: inspect.Type) -> str:
    """What may stand there, in words; "" where msgspec's own words say it."""
    kind = _plain(kind)
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(str(value) for value in kind.values)
    if isinstance(kind, inspect.StructType):
        required = [field.encode_name for field in kind.fields if field.required]
        return f"a table with {', '.join(required)}"
    if isinstance(kind, inspect.VarTupleType):
        inner = _allowed(kind.item_type)
        return f"a list{' of at least one' if kind.min_length else ''}" + (f": {inner}" if inner else "")
    if isinstance(kind, inspect.DictType):
        return f"a table: {_allowed(kind.key_type)}" if _allowed(kind.key_type) else "a table"
    if isinstance(kind, inspect.StrType):
        return _allowed_text(kind)
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        return _allowed_number(kind)
    return "true, false" if isinstance(kind, inspect.BoolType) else ""


def _allowed_text(kind: inspect.StrType) -> str:
    if kind.pattern:
        return f"text that matches {kind.pattern}"
    return "text that is not empty" if kind.min_length else "text"


def _allowed_number(kind: inspect.IntType | inspect.FloatType) -> str:
    bounds = [("above", kind.gt), ("at least", kind.ge), ("below", kind.lt), ("at most", kind.le)]
    words = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
    name = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
    return " ".join([name, " and ".join(words)]).strip()


def _join(key: str, name: str) -> str:
    return ".".join(part for part in (key, name) if part)
