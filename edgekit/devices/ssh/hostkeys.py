"""Host keys: an unknown or changed one is refused, with the commands that mend it."""

from __future__ import annotations

import shlex
from typing import Any

from edgekit.errors import DeviceError

__all__ = ["refused_key"]

FILES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa", "ssh-dss": "dsa"}


def refused_key(
    name: str, where: tuple[str, str, int], key: Any, known: Any, jump: str | None
) -> DeviceError:
    """The error for a key that the user's known hosts do not hold.

    `where`: (host, address, port) as connected; `known`: asyncssh's known_hosts argument.
    """
    import asyncssh

    host, address, port = where
    kind = FILES.get(key.algorithm.decode(), "ecdsa")
    fingerprint = key.get_fingerprint()
    compare = f"compare with: ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub (on the board)"
    place = host if port == 22 else f"[{host}]:{port}"
    scan = shlex.join(["ssh-keyscan", "-t", kind, "-p", str(port), host]) + " >> ~/.ssh/known_hosts"
    if jump:  # ssh-keyscan knows no jump hosts
        scan = shlex.join(["ssh", "-J", jump, "-p", str(port), host])
    earlier = asyncssh.match_known_hosts(known, host, address, port)[0]
    if not earlier:
        return DeviceError(
            f"the host key of {name} is not known: {fingerprint} ({kind})", remedy=f"{compare}; then: {scan}"
        )
    forget = shlex.join(["ssh-keygen", "-R", place])
    return DeviceError(
        f"the host key of {name} has changed: it is {fingerprint} ({kind}), "
        f"{earlier[0].get_fingerprint()} was known",
        remedy=f"if the board was set up anew, {compare}; then: {forget} && {scan}",
    )
