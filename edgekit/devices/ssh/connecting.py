"""Opening an SSH connection: what the user's own configuration says holds, and each refusal is one clear line."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from edgekit.devices.address import Address
from edgekit.devices.ssh.hostkeys import refused_key
from edgekit.devices.ssh.trouble import Unreachable
from edgekit.errors import DeviceError, MissingExtraError, in_one_line
from edgekit.files import expanded

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection, SSHClientConnectionOptions

__all__ = ["connect"]

DEFAULT_KNOWN = "~/.ssh/known_hosts"
CONNECT_S = 15.0
LOGIN_S = 30.0
KEEPALIVE_S = 5.0
KEEPALIVES = 3
"""A link from which nothing comes for KEEPALIVE_S · KEEPALIVES seconds is dead."""


async def connect(address: Address) -> tuple[SSHClientConnection, ...]:
    """Connect as ~/.ssh/config and the address say; gives the connection, then those of jump hosts under it.

    Raises DeviceError; Unreachable where it may pass. Raises MissingExtraError without asyncssh.
    """
    if find_spec("asyncssh") is None:
        raise MissingExtraError("asyncssh", "ssh")
    jumps = await connect(_jump_host(address)) if address.jump else ()
    try:
        return (await _connect(address, jumps[0] if jumps else None), *jumps)
    except BaseException:
        for jump in jumps:
            jump.abort()
        raise


async def _connect(address: Address, tunnel: SSHClientConnection | None) -> SSHClientConnection:
    import asyncssh

    seen: list[tuple[tuple[str, str, int], Any]] = []

    class Client(asyncssh.SSHClient):
        """Keeps the key that was refused, to tell it."""

        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            seen.append(((host, addr, port), key))
            return False

    options = _options(address)
    try:
        return await asyncssh.connect(
            address.host, options=options, client_factory=Client, tunnel=tunnel if tunnel is not None else ()
        )
    except asyncssh.HostKeyNotVerifiable as error:
        if seen:
            raise refused_key(address.name, *seen[-1], options.known_hosts, address.jump) from error
        raise DeviceError(
            f"a host key on the way to {address.name} is not trusted: {in_one_line(error)}",
            remedy=f"see that `ssh {address.host}` connects",
        ) from error
    except asyncssh.PermissionDenied as error:
        raise _denied(address, options) from error
    except (asyncssh.Error, OSError, asyncio.TimeoutError) as error:
        raise _unreachable(address, options, error) from error


def _options(address: Address) -> SSHClientConnectionOptions:
    """The user's configuration with the address over it. Raises DeviceError for keys and files that cannot be used."""
    import asyncssh

    given: dict[str, Any] = {"host": address.host, "config": ()}  # (): ~/.ssh/config
    given |= {"port": address.port} if address.port else {}
    given |= {"username": address.user} if address.user else {}
    given |= {"client_keys": [str(expanded(address.key))]} if address.key else {}
    try:
        options = asyncssh.SSHClientConnectionOptions(
            **given,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVES,
            connect_timeout=CONNECT_S,
            login_timeout=LOGIN_S,
        )
        options = asyncssh.SSHClientConnectionOptions(options, known_hosts=_known_hosts(options))
    except FileNotFoundError as error:
        raise DeviceError(f"no key file {error.filename}, which {address.name} names") from error
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as error:
        raise DeviceError(
            f"the key of {address.name} cannot be read: {in_one_line(error)}",
            remedy=f"where it has a passphrase, give it to the agent: ssh-add {address.key or ''}".rstrip(),
        ) from error
    except (asyncssh.ConfigParseError, OSError, ValueError) as error:
        raise DeviceError(f"the SSH configuration for {address.name}: {in_one_line(error)}") from error
    return options


def _jump_host(address: Address) -> Address:
    """The jump host, [user@]host[:port], as an address of its own."""
    text = address.jump or ""
    user, _, place = text.rpartition("@")
    host, _, port = place.rpartition(":") if ":" in place and not place.endswith("]") else (place, "", "")
    if not host or (port and not port.isdigit()):
        raise DeviceError(f'"{text}" is no jump host', allowed="[user@]host[:port]")
    number = int(port) if port else None
    return replace(
        address,
        name=f"the jump host {text}",
        host=host.strip("[]"),
        port=number,
        user=user or None,
        jump=None,
    )


def _known_hosts(options: SSHClientConnectionOptions) -> Any:
    """The user's files that are there, whatever his configuration says of not looking at keys."""
    named = cast("list[str]", options.known_hosts) or [str(expanded(DEFAULT_KNOWN))]
    files = [str(file) for file in named]
    return [file for file in files if os.access(file, os.R_OK)] or ([], [], [])


def _place(options: SSHClientConnectionOptions) -> str:
    return f"port {options.port} of {options.host}"


def _denied(address: Address, options: SSHClientConnectionOptions) -> Unreachable:
    """SSH does not say whether the user or his key is unknown. It may pass: a system that boots lets nobody in."""
    user, port = options.username, f"-p {options.port} " if options.port != 22 else ""
    offered = address.key or "your keys and agent"
    return Unreachable(
        f'{address.name} does not let "{user}" in with {offered}',
        remedy=f"check the user's name, or put your key there: ssh-copy-id {port}{user}@{options.host}",
    )


def _unreachable(address: Address, options: SSHClientConnectionOptions, error: BaseException) -> Unreachable:
    place = _place(options)
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f'{address.name}: no host "{options.host}" is known',
            remedy="check its name, or give its IP address",
        )
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(
            f"{address.name}: nothing answers at {place}",
            remedy="is SSH on there (sshd), and is it that port?",
        )
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return Unreachable(
            f"{address.name}: no answer from {place} within {CONNECT_S:.0f} s",
            remedy="is the board on, and in this network?",
        )
    return Unreachable(f"{address.name}: no connection to {place}: {in_one_line(error)}")
