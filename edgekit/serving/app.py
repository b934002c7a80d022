"""The service over HTTP: its routes, who may use them, and how refusals are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from edgekit._version import __version__
from edgekit.errors import shortened
from edgekit.serving.access import TokenCheck
from edgekit.serving.answers import Timing, encode_answers, wanted_form
from edgekit.serving.batching import SampleAnswer
from edgekit.serving.checking import checked_rows
from edgekit.serving.page import api_page, try_page
from edgekit.serving.problems import RequestProblem
from edgekit.serving.receiving import decode_body, kind_of, read_body
from edgekit.serving.service import Service

__all__ = ["make_app"]

INLINE_BYTES = 256 * 1024
"""A body up to this size is decoded at once: handing it to a thread would take longer."""
DECODERS = 2
"""Bodies that are decoded at one time: an image of 64 million pixels takes 192 MB and more."""
BODY = {"schema": {"type": "string", "format": "binary"}}
PREDICT_DOCS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {}, "dtype": {"type": "string"}},
                }
            },
            "application/x-npy": BODY,
            "application/x-npz": BODY,
            "image/*": BODY,
            "multipart/form-data": {
                "schema": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
            },
        },
    }
}


def make_app(service: Service, token: str = "") -> FastAPI:
    """The ASGI application. It starts the service's workers and, at its end, answers what is queued and stops them.

    token: who does not bring it gets 401 everywhere but at /health; empty lets everybody in.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start(asyncio.get_running_loop())
        yield
        await service.stop()

    app = FastAPI(
        title=f"edgekit serve: {service.name}",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from elsewhere
        redoc_url=None,
        middleware=[Middleware(TokenCheck, token=token)],
        exception_handlers={
            RequestProblem: _refused,
            HTTPException: _not_routed,
            Exception: _broken,
        },
    )
    routes = Routes(service)
    app.add_api_route(
        "/predict",
        routes.predict,
        methods=["POST"],
        summary="The network's outputs for a sample or a batch",
        openapi_extra=PREDICT_DOCS,
        response_class=Response,
    )
    # The same without FastAPI's resolving of parameters, of which there are none: the one above documents it.
    app.router.routes.insert(0, Route("/predict", routes.predict, methods=["POST"]))
    app.add_api_route("/health", routes.health, summary="Whether it answers", response_class=Response)
    app.add_api_route("/metrics", routes.metrics, summary="Prometheus' metrics", response_class=Response)
    app.add_api_route("/", routes.page, include_in_schema=False, response_class=Response)
    app.add_api_route("/docs", routes.docs, include_in_schema=False, response_class=Response)
    return app


class Routes:
    """The endpoints of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._decoders = asyncio.Semaphore(DECODERS)

    async def predict(self, request: Request) -> Response:
        """One sample or a batch of them: .npy, .npz, JSON, an image or a form; JSON, .npy or .npz back, by Accept."""
        since = time.perf_counter()
        status = 500
        try:
            leave = self._service.admit()
            try:
                response = await self._predict(request, since)
            finally:
                leave()
            status = response.status_code
            return response
        except RequestProblem as problem:
            status = problem.status
            raise
        finally:
            self._service.metrics.requests.labels(str(status)).inc()
            self._service.metrics.request_s.observe(time.perf_counter() - since)

    async def _predict(self, request: Request, since: float) -> Response:
        model, limits = self._service.model, self._service.limits
        form = wanted_form(request.headers.get("accept", ""), len(model.outputs))
        kind = request.headers.get("content-type", "")
        body = await read_body(request, limits.max_request_bytes)

        def decoded() -> tuple[list[list[Any]], bool]:
            samples = decode_body(model, kind, body, limits.max_request_bytes)
            return checked_rows(model, samples, limits.max_samples)

        if len(body) <= INLINE_BYTES and kind_of(kind).startswith("application/"):
            rows, batched = decoded()
        else:
            async with self._decoders:
                rows, batched = await asyncio.to_thread(decoded)
        answers = await self._service.answer(rows)
        timing = _timing(answers, since)
        content, media = encode_answers(model, answers, batched, form, timing)
        return Response(content, media_type=media, headers={"Server-Timing": timing.header()})

    async def health(self) -> Response:
        """200 where it answers; 503 while it stops, or where the model no longer gives its golden outputs."""
        service = self._service
        word = "stopping" if service.is_stopping else "broken" if service.is_broken else "ok"
        return _json({"status": word}, 200 if word == "ok" else 503)

    async def metrics(self) -> Response:
        """In Prometheus' text format."""
        return Response(self._service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def page(self) -> Response:
        """A page that takes an image or an array and shows what the network says of it."""
        return Response(try_page(self._service), media_type="text/html")

    async def docs(self) -> Response:
        """How to ask, with this model's names and shapes."""
        return Response(api_page(self._service), media_type="text/html")


def _timing(answers: list[SampleAnswer], since: float) -> Timing:
    return Timing(
        total_ms=1000 * (time.perf_counter() - since),
        queued_ms=max(answer.queued_ms for answer in answers),
        inference_ms=max(answer.inference_ms for answer in answers),
        batch=max(answer.batch for answer in answers),
    )


def _json(content: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    import msgspec

    return Response(msgspec.json.encode(content), status, headers, "application/json")


async def _refused(_request: Request, problem: Exception) -> Response:
    assert isinstance(problem, RequestProblem)
    return _json({"error": str(problem)}, problem.status, problem.headers)


async def _not_routed(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    line = shortened(f"{request.method} {request.url.path}: {problem.detail}")
    return _json(
        {"error": f"{line}; allowed: POST /predict, GET /health, /metrics, /docs, /"},
        problem.status_code,
        dict(problem.headers or {}),
    )


async def _broken(_request: Request, _problem: Exception) -> Response:
    return _json({"error": "edgekit serve has failed here; its own terminal says more"}, 500)
