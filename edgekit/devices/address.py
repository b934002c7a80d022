"""Where a board is reached, and what its owner says of it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Address"]


@dataclass(frozen=True)
class Address:
    """A board over SSH. What is empty or None is left to the user's ~/.ssh/config, then to SSH's own defaults.

    `name`: as it is shown; `key`: a private key's file; `jump`: [user@]host[:port] of a jump host. `python`: the
    interpreter there; `folder`: the work folder there, relative to the login's home unless absolute. `before` and
    `after`: commands, word by word, run there around each measurement (the power mode, for one). `meter`: a command
    that prints the board's power in watts. `target` and `labels`: which board it is, and the groups it belongs to.
    """

    name: str
    host: str
    port: int | None = None
    user: str | None = None
    key: str | None = None
    jump: str | None = None
    python: str = "python3"
    folder: str = ".cache/edgekit"
    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()
    meter: tuple[str, ...] = ()
    target: str | None = None
    labels: tuple[str, ...] = ()
