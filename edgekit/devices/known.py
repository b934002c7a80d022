"""The boards that the user has named: devices.toml in edgekit's folder of the user's configuration."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from edgekit.devices.address import Address
from edgekit.errors import DeviceError
from edgekit.files import expanded, read_toml, write_atomically
from edgekit.hardware.explain import explain

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

__all__ = [
    "HERE",
    "add_device",
    "change_device",
    "devices_file",
    "known_devices",
    "read_address",
    "remove_device",
]

HERE = "local"
"""The name of this machine, which no board may have."""

TRAINERS = ("auto", "cpu", "cuda")
"""What --device meant in earlier versions."""

SCHEME = "ssh://"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PLACE = re.compile(
    r"(?:(?P<user>[^@/\s:]+)@)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^@/\s:\[\]]+)(?::(?P<port>[0-9]+))?/?"
)

Text = Annotated[str, Meta(min_length=1)]


class DeviceTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One table of devices.toml; the keys mean what they mean in `Address`, commands are lines of words."""

    host: Text
    user: Text | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    key: Text | None = None
    jump: Text | None = None
    target: Text | None = None
    labels: tuple[Text, ...] = ()
    python: Text = "python3"
    folder: Text = ".cache/edgekit"
    before: tuple[Text, ...] = ()
    after: tuple[Text, ...] = ()
    meter: Text | None = None


def devices_file() -> Path:
    """Where the boards stand. It need not exist."""
    from platformdirs import user_config_path

    return user_config_path("edgekit", appauthor=False) / "devices.toml"


def known_devices(file: Path | None = None) -> Mapping[str, Address]:
    """Name → board, in the order of the file; none without a file.

    Raises DeviceError with the file, the key and what is allowed there; two tables of one name are refused.
    """
    path = file or devices_file()
    return {name: _address(name, entry, path) for name, entry in _entries(path).items()}


def _entries(path: Path) -> dict[str, DeviceTable]:
    if not path.exists():
        return {}
    content = read_toml(path, DeviceError)
    for name in content:
        _check_name(name, str(path))
    try:
        return msgspec.convert(content, dict[str, DeviceTable])
    except msgspec.ValidationError as error:
        key, came, allowed = explain(content, error, dict[str, DeviceTable])
        raise DeviceError(f"{path}: {key}: {came}", allowed=allowed) from error


def _address(name: str, entry: DeviceTable, path: Path) -> Address:
    return Address(
        name=name,
        host=entry.host,
        port=entry.port,
        user=entry.user,
        key=None if entry.key is None else str(expanded(entry.key)),
        jump=entry.jump,
        python=entry.python,
        folder=entry.folder,
        before=tuple(_words(line, f"{path}: {name}.before") for line in entry.before),
        after=tuple(_words(line, f"{path}: {name}.after") for line in entry.after),
        meter=() if entry.meter is None else _words(entry.meter, f"{path}: {name}.meter"),
        target=entry.target,
        labels=entry.labels,
    )


def _words(line: str, where: str) -> tuple[str, ...]:
    """A command's words: it is run without a shell."""
    try:
        words = tuple(shlex.split(line))
    except ValueError as problem:
        raise DeviceError(f"{where}: {line!r}: {problem}", remedy="close the quotation") from problem
    if not words:
        raise DeviceError(f"{where}: an empty command", allowed="a program and its arguments")
    return words


def _check_name(name: str, where: str) -> None:
    """Raises DeviceError for what cannot be a board's name."""
    if name == HERE or not NAME.fullmatch(name):
        raise DeviceError(
            f'{where}: "{name}" cannot be a device\'s name',
            allowed=f"letters, digits, dots, hyphens and underscores; not {HERE}, which is this machine",
        )


def read_address(text: str, file: Path | None = None) -> Address:
    """The board that `text` means: ssh://[user@]host[:port], or a name of devices.toml. Raises DeviceError."""
    if text in TRAINERS:
        raise DeviceError(
            f'"{text}" is no board: the device is what measures',
            remedy=f'where networks are trained is --train-on {text}, in Python train={{"device": "{text}"}}',
        )
    if text.startswith(SCHEME):
        match = PLACE.fullmatch(text[len(SCHEME) :])
        if match is None or (match["port"] and not 1 <= int(match["port"]) <= 65535):
            raise DeviceError(
                f'"{text}" is no address of a board', allowed="ssh://user@host or ssh://user@host:22"
            )
        port = int(match["port"]) if match["port"] else None
        return Address(name=text.rstrip("/"), host=match["host"].strip("[]"), port=port, user=match["user"])
    known = known_devices(file)
    if text in known:
        return known[text]
    near = difflib.get_close_matches(text, known, n=2, cutoff=0.5)
    raise DeviceError(
        f'no device "{text}"',
        allowed=", ".join((HERE, "ssh://user@host", *known)),
        remedy=f"did you mean {' or '.join(near)}?" if near else "edgekit device add NAME ssh://user@host",
    )


def add_device(name: str, options: Mapping[str, Any], file: Path | None = None) -> Path:
    """Write a new board into the file, behind what stands there; comments stay. Gives the file.

    `options` has the keys of a table, without those that are not given. Raises DeviceError for a name that is taken and
    for values that a table does not take.
    """
    path = file or devices_file()
    _check_name(name, "device add")
    if name in _entries(path):
        raise DeviceError(
            f'there is a device "{name}" in {path}',
            remedy=f"choose another name, or: edgekit device remove {name}",
        )
    try:
        entry = msgspec.convert(dict(options), DeviceTable)
    except msgspec.ValidationError as error:
        key, came, allowed = explain(options, error, DeviceTable)
        raise DeviceError(f"--{key} {came}", allowed=allowed) from error
    _address(name, entry, path)  # its commands can be read
    document = _document(path)
    document[name] = msgspec.to_builtins(entry)
    _write(path, document)
    return path


def change_device(name: str, values: Mapping[str, Any], file: Path | None = None) -> Path:
    """Change keys of a board's table; what else stands in the file stays. Raises DeviceError."""
    path = file or devices_file()
    if name not in _entries(path):
        raise DeviceError(f'no device "{name}" in {path}')
    document = _document(path)
    table: Any = document[name]
    for key, value in values.items():
        table[key] = value
    _write(path, document)
    return path


def remove_device(name: str, file: Path | None = None) -> Path:
    """Take a board's table out of the file; what else stands there stays as it is. Raises DeviceError."""
    path = file or devices_file()
    entries = _entries(path)
    if name not in entries:
        raise DeviceError(f'no device "{name}" in {path}', allowed=", ".join(entries) or "none is there")
    document = _document(path)
    del document[name]
    _write(path, document)
    return path


def _document(path: Path) -> TOMLDocument:
    """The file with its comments and its order."""
    import tomlkit

    return tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()


def _write(path: Path, document: TOMLDocument) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, document.as_string().encode())
    except OSError as error:
        raise DeviceError(f"{path} cannot be written: {error.strerror}") from error
