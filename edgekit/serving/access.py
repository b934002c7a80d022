"""Who may ask: a token, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["TokenCheck"]

OPEN = "/health"


class TokenCheck:
    """Lets requests pass that bring the token: `Authorization: Bearer TOKEN`.

    Or as the password of Basic, which a browser asks for by itself: so the page can be used too. /health stays open.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._token or scope["path"] == OPEN:
            await self._app(scope, receive, send)
            return
        given = _given(Headers(scope=scope).get("authorization", ""))
        if hmac.compare_digest(given, self._token):
            await self._app(scope, receive, send)
            return
        line = (
            "the token is not the right one" if given else "no token came; send Authorization: Bearer TOKEN"
        )
        refusal = Response(msgspec.json.encode({"error": line}), 401, media_type="application/json")
        refusal.headers.append("WWW-Authenticate", 'Bearer realm="edgekit"')
        refusal.headers.append("WWW-Authenticate", 'Basic realm="edgekit: any name, the token as password"')
        await refusal(scope, receive, send)


def _given(authorization: str) -> bytes:
    """The token that came; empty for none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")  # the bytes that came: Starlette reads headers as latin-1
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
