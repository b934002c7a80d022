"""Host keys: an unknown or changed one is refused, with the commands that mend it."""

from __future__ import annotations

import shlex
from typing import Any

from edgekit.errors import DeviceError
from edgekit.files import expanded

__all__ = ["refused_key"]

DEFAULT_FILE = "~/.ssh/known_hosts"
FILES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa", "ssh-dss": "dsa"}


def refused_key(
    name: str, where: tuple[str, str, int], key: Any, known: Any, jump: str | None
) -> DeviceError:
    """The error for a key that the user's known hosts do not hold.

    `where`: (host, address, port) as connected; `known`: the files that were read, or what stands for none.
    """
    import asyncssh

    host, address, port = where
    kind = FILES.get(key.algorithm.decode(), "ecdsa")
    fingerprint = key.get_fingerprint()
    compare = f"compare with: ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub (on the board)"
    place = host if port == 22 else f"[{host}]:{port}"
    file = known[0] if isinstance(known, list) and known[0] != str(expanded(DEFAULT_FILE)) else DEFAULT_FILE
    scan = f"{shlex.join(['ssh-keyscan', '-t', kind, '-p', str(port), host])} >> {file}"
    if jump:  # ssh-keyscan knows no jump hosts
        scan = shlex.join(["ssh", "-J", jump, "-p", str(port), host])
    earlier = asyncssh.match_known_hosts(known, host, address, port)[0]
    if not earlier:
        return DeviceError(
            f"the host key of {name} is not known: {fingerprint} ({kind})", remedy=f"{compare}; then: {scan}"
        )
    which = [] if file == DEFAULT_FILE else ["-f", file]
    forget = shlex.join(["ssh-keygen", *which, "-R", place])
    return DeviceError(
        f"the host key of {name} has changed: it is {fingerprint} ({kind}), "
        f"{earlier[0].get_fingerprint()} was known",
        remedy=f"if the board was set up anew, {compare}; then: {forget} && {scan}",
    )
