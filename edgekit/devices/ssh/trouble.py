"""What goes wrong between here and a board."""

from __future__ import annotations

from edgekit.errors import DeviceError

__all__ = ["LinkLost", "RemoteProblem", "Unreachable"]


class LinkLost(Exception):
    """The connection ended, or went silent. It may come back: never leaves this package."""


class Unreachable(DeviceError):
    """No connection came about, for a reason that may pass."""


class RemoteProblem(Exception):
    """The board's answer to a request is an error. `kind`: see `board/remote.py`; never leaves this package."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind
