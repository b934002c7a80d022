"""Answers: every form in which samples may come gives what the model gives by itself."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgekit
from tests.bundles import CLASSES
from tests.serving.services import Asked

IMAGES = np.random.default_rng(5).integers(0, 256, (3, 4, 4, 2)).astype(np.uint8)


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """multipart/form-data of (name, content type, content); without a type it is a plain field."""
    body = b""
    for name, kind, content in parts:
        file = f'; filename="f"\r\nContent-Type: {kind}' if kind else ""
        body += f'--edge\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + b"--edge--\r\n", "multipart/form-data; boundary=edge"


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path) -> NDArray[Any]:
    with edgekit.load(tiny_bundle) as model:
        return np.asarray(model.predict(IMAGES)["scores"])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (npy(IMAGES), "application/x-npy"),
        (npy(IMAGES), "application/octet-stream"),
        (npy(np.asfortranarray(IMAGES)), "application/x-npy"),
        (npz(image=IMAGES), "application/x-npz"),
        (npz(image=IMAGES), "application/octet-stream"),
        (json.dumps({"inputs": IMAGES.tolist()}).encode(), "application/json"),
        (
            json.dumps({"inputs": {"image": IMAGES.tolist()}, "dtype": "uint8"}).encode(),
            "application/json; charset=utf-8",
        ),
        form(("image", "application/x-npy", npy(IMAGES))),
        form(("anything", "application/octet-stream", npy(IMAGES))),
        form(("image", "", json.dumps(IMAGES.tolist()).encode())),
    ],
)  # fmt: skip
def test_samples_may_come_in_many_forms(tiny: Asked, expected: NDArray[Any], body: bytes, kind: str) -> None:
    reply = tiny.ask(body, kind)
    assert reply.status == 200, reply.body
    np.testing.assert_array_equal(np.float32(reply.content["outputs"]["scores"]), expected)
    assert reply.content["classes"] == [
        {"index": int(index), "label": CLASSES[index]} for index in expected.argmax(1)
    ]


def test_one_sample_is_answered_without_the_axis_of_a_batch(tiny: Asked, expected: NDArray[Any]) -> None:
    content = tiny.ask(npy(IMAGES[1]), "application/x-npy").content
    np.testing.assert_array_equal(np.float32(content["outputs"]["scores"]), expected[1])
    assert content["classes"]["label"] == CLASSES[expected[1].argmax()]
    assert 0 <= content["time_ms"]["inference"] <= content["time_ms"]["total"]


@pytest.mark.parametrize("accept", ["application/x-npy", "text/html;q=0.9, application/x-npy, */*;q=0.1"])
def test_an_answer_may_be_npy(tiny: Asked, expected: NDArray[Any], accept: str) -> None:
    reply = tiny.ask(npy(IMAGES), "application/x-npy", Accept=accept)
    assert reply.headers["content-type"] == "application/x-npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(reply.body), allow_pickle=False), expected)
    assert "inference;dur=" in reply.headers["server-timing"]


def test_several_inputs_and_outputs_have_names(words: Asked) -> None:
    ids, shift = np.int64([[1, 2, 3, 4], [9, 0, 0, 1]]), np.float32([[0, 0], [1, 2]])
    wanted = words.service.model.predict({"ids": ids, "shift": shift})
    for body, kind in (
        (npz(ids=ids, shift=shift), "application/x-npz"),
        (json.dumps({"inputs": {"ids": ids.tolist(), "shift": shift.tolist()}}).encode(), "application/json"),
        form(("shift", "", json.dumps(shift.tolist()).encode()), ("ids", "application/x-npy", npy(ids))),
    ):
        reply = words.ask(body, kind, Accept="application/x-npz")
        assert reply.status == 200, reply.body
        with np.load(io.BytesIO(reply.body), allow_pickle=False) as answer:
            assert set(answer) == {"sum", "less"}
            for name in answer:
                np.testing.assert_array_equal(answer[name], wanted[name])


def test_one_array_cannot_hold_two_outputs(words: Asked) -> None:
    reply = words.ask(b"{}", "application/json", Accept="application/x-npy")
    assert reply.status == 406
    assert "2 outputs" in reply.error


def test_an_answer_of_another_type_is_refused(tiny: Asked) -> None:
    reply = tiny.ask(npy(IMAGES), "application/x-npy", Accept="image/png")
    assert reply.status == 406
    assert "image/png" in reply.error


def test_health_metrics_and_pages_are_there(tiny: Asked) -> None:
    tiny.ask(npy(IMAGES), "application/x-npy")
    assert tiny.get("/health").content == {"status": "ok"}
    metrics = tiny.get("/metrics").body.decode()
    assert 'edgekit_requests_total{status="200"}' in metrics
    assert 'edgekit_model_info{bundle="tiny"} 1.0' in metrics
    assert "/predict" in tiny.get("/openapi.json").content["paths"]
    for path in ("/", "/docs"):
        page = tiny.get(path)
        assert page.headers["content-type"].startswith("text/html")
        text = page.body.decode()
        assert "<code>image</code>" in text
        assert "http://" not in text.replace("http://HOST:PORT", "")  # nothing is loaded from elsewhere
        assert "https://" not in text
        assert "src=" not in text.replace("shown.src =", "")


def test_other_routes_are_told_in_json(tiny: Asked) -> None:
    assert tiny.get("/predict").status == 405
    reply = tiny.ask(b"", path="/nothing")
    assert reply.status == 404
    assert "POST /predict" in reply.error
