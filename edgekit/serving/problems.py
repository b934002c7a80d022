"""What a request is refused with: a status and one line."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.errors import shortened

__all__ = ["RequestProblem"]


class RequestProblem(Exception):
    """A request that is not answered: the HTTP status, and one line as `UserError` words it.

    status: 4xx what the client has to change, 503 where it only has to come again.
    """

    def __init__(
        self,
        status: int,
        came: str,
        *,
        allowed: str = "",
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        parts = (came, f"allowed: {allowed}" if allowed else "", remedy)
        super().__init__("; ".join(shortened(part) for part in parts if part))
        self.status = status
        self.headers = dict(headers or {})
