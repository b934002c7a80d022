"""What a client does wrong is answered with a status of 4xx and one line; then the service answers the next one."""

from __future__ import annotations

import io
import json
import pickle
import re
import socket
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit.bundle import Golden
from edgekit.serving.decoding import read_archive, read_array, read_json
from edgekit.serving.problems import RequestProblem
from edgekit.types import Preprocess, Signature, TensorSpec
from tests.serving.services import Asked, Reply, nodes_model, onnx_bundle, served
from tests.serving.test_predict import IMAGES, form, npy, npz

NPY, JSON = "application/x-npy", "application/json"


def answers(asked: Asked) -> bool:
    return asked.ask(npy(IMAGES), NPY).status == 200


def header_of(text: str) -> bytes:
    """A .npy file of this header and sixteen bytes."""
    raw = (text + "\n").encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + bytes(16)


def with_nan() -> np.ndarray:
    images = IMAGES.astype(np.float32)
    images[1, 0, 0, 0] = np.nan
    return images


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    return stream.getvalue()


def json_of(inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


BAD: dict[str, tuple[Any, str, int, str]] = {
    "wrong shape": (npy(IMAGES[:, :3]), NPY, 422, r"crop is 4, but an image is 4x3"),
    "too few axes": (npy(IMAGES[0, 0]), NPY, 422, r"came with 2 axes.*a sample of 3 axes"),
    "wrong channels": (npy(IMAGES[..., :1]), NPY, 422, r"channels|gives \[2, 4, 4\]"),
    "no samples": (npy(IMAGES[:0]), NPY, 422, "length above 0"),
    "NaN": (npy(with_nan()), NPY, 422, "NaN or infinite"),
    "infinite": (npy(np.full((4, 4, 2), -np.inf)), NPY, 422, "NaN or infinite"),
    "too large for float32": (npy(np.full((4, 4, 2), 1e300)), NPY, 422, "NaN or infinite"),
    "NaN in JSON": (b'{"inputs": [[[NaN]]]}', JSON, 400, "not the JSON"),
    "wrong JSON": (b'{"inputs": [', JSON, 400, r"not the JSON.*allowed: \{\"inputs\""),
    "JSON without inputs": (b'{"input": [1]}', JSON, 400, "not the JSON"),
    "JSON list": (b"[1, 2]", JSON, 400, "not the JSON"),
    "no UTF-8": (b'{"inputs": "\xff"}', JSON, 400, "not the JSON"),
    "deep JSON": (b'{"inputs": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", JSON, 400, "not the JSON"),
    "ragged JSON": (json_of([[1, 2], [3]]), JSON, 422, "differ in length or depth"),
    "words in JSON": (json_of([["a", "b"]]), JSON, 422, "no number"),
    "null in JSON": (json_of([[None, 1]]), JSON, 422, "no number"),
    "huge integer in JSON": (b'{"inputs": [1' + b"0" * 400 + b"]}", JSON, 422, "a number beyond 64 bits"),
    "wrong names": (json_of({"picture": IMAGES.tolist()}), JSON, 422, "came as picture; allowed: image"),
    "no names": (json_of({}), JSON, 422, "allowed: image"),
    "wrong dtype": (json_of([1.5], dtype="complex64"), JSON, 422, 'dtype is "complex64"'),
    "numbers that are no uint8": (json_of([1.5], dtype="uint8"), JSON, 422, "no uint8"),
    "wrong names in npz": (npz(a=IMAGES), "application/x-npz", 422, "came as a; allowed: image"),
    "damaged npz": (npz(image=IMAGES)[:200], "application/x-npz", 400, "no .npz file"),
    "pickle": (pickle.dumps([1]), NPY, 400, "no .npy file"),
    "pickled npy": (pickled(), NPY, 422, r"holds Python objects \(a pickle\); allowed: an array of numbers"),
    "text in npy": (npy(np.array(["a", "b"])), NPY, 422, "holds <U1"),
    "complex npy": (npy(np.zeros((4, 4, 2), complex)), NPY, 422, "complex128"),
    "cut npy": (npy(IMAGES)[:-3], NPY, 400, r"declares \[3, 4, 4, 2\] of uint8, 96 bytes, and holds 93"),
    "cut header": (npy(IMAGES)[:40], NPY, 400, "no .npy file"),
    "npy that claims much": (
        header_of("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000, 4)}"), NPY, 400, "and holds 16",
    ),
    "negative shape": (header_of("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}"), NPY, 422, r"\[-1, 4\]"),
    "long header": (header_of("{" + " " * 20_000 + "}"), NPY, 400, "no .npy file"),
    "code in header": (header_of("__import__('os').abort()"), NPY, 400, "no .npy file"),
    "empty": (b"", NPY, 400, "empty"),
    "unknown type": (npy(IMAGES), "text/csv", 415, 'content type is "text/csv"; allowed: application/x-npy'),
    "no type": (npy(IMAGES), "", 415, 'content type is ""'),
    "image for what is no image": (b"\x00" * 30, "image/png", 415, "no image that is read here"),
    "form without end": (form(("image", NPY, npy(IMAGES)))[0][:-20], "multipart/form-data; boundary=edge", 400, "form"),
    "form without boundary": (b"abc", "multipart/form-data", 400, "names no boundary"),
    "form with two parts": (*form(("a", NPY, npy(IMAGES)), ("b", NPY, npy(IMAGES))), 422, r"\['a', 'b'\]"),
    "form with one name twice": (*form(("a", NPY, npy(IMAGES)), ("a", NPY, npy(IMAGES))), 400, "two parts named a"),
    "part of another type": (*form(("a", "text/csv", b"1,2")), 415, "text/csv"),
    "too many samples": (npy(np.zeros((1025, 4, 4, 2), np.uint8)), NPY, 413, "1025 samples came; allowed: 1024"),
    "too large": (bytes(200_001), NPY, 413, "200001 bytes came; allowed: 200000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_told_in_one_line(tiny: Asked, case: str) -> None:
    body, kind, status, line = BAD[case]
    reply = tiny.ask(body, kind)
    assert (reply.status, bool(re.search(line, reply.error))) == (status, True), reply.body
    assert answers(tiny)


def test_a_compressed_body_is_refused(tiny: Asked) -> None:
    reply = tiny.ask(zlib.compress(npy(IMAGES)), NPY, Content_Encoding="deflate")
    assert reply.status == 415
    assert "Content-Encoding" in reply.error


def test_an_archive_that_unpacks_to_much_is_refused(tiny: Asked) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", bytes(50_000_000))
    reply = tiny.ask(stream.getvalue(), "application/x-npz")
    assert reply.status == 413
    assert "unpacks to more than 200000 bytes" in reply.error


def test_values_that_the_network_does_not_know_are_the_clients_mistake(words: Asked) -> None:
    reply = words.ask(json_of({"ids": [1, 2, 3, 99], "shift": [0.0, 0.0]}), JSON)
    assert reply.status == 422
    assert "the runtime refuses this input" in reply.error
    assert words.get("/health").status == 200
    assert words.ask(json_of({"ids": [1, 2, 3, 9], "shift": [0.0, 0.0]}), JSON).status == 200


@pytest.mark.parametrize("ids", [[1.5, 2, 3, 4], [2**40, 1, 2, 3]])
def test_numbers_are_not_rounded_in_silence(words: Asked, ids: list[float]) -> None:
    reply = words.ask(json_of({"ids": ids, "shift": [0.0, 0.0]}), JSON)
    assert reply.status == 422
    assert "no int32" in reply.error


def test_one_array_is_not_enough_for_two_inputs(words: Asked) -> None:
    assert "allowed: ids, shift" in words.ask(npy(IMAGES), NPY).error
    assert "without names" in words.ask(json_of([1, 2]), JSON).error


# ---- images


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """The mean of each colour of an RGB image, resized to 8 by 8."""
    folder = tmp_path_factory.mktemp("pictures")
    with served(picture_bundle(folder)) as asked:
        yield asked


def picture_bundle(folder: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    real = onnx.TensorProto.FLOAT
    model = nodes_model(
        [onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
        [("x", real, [1, 3, 8, 8])], [("y", real, [1, 3])], {},
    )  # fmt: skip
    samples = np.random.default_rng(3).normal(size=(2, 3, 8, 8)).astype(np.float32)
    signature = Signature((TensorSpec("x", "float32", (1, 3, 8, 8)),), (TensorSpec("y", "float32", (1, 3)),))
    how = Preprocess("nhwc", 255.0, resize=(8, 8))
    return onnx_bundle(folder, model, signature, Golden((samples,), (samples.mean((2, 3)),)), how)


def picture(kind: str, size: tuple[int, int] = (20, 12)) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(4).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "webp", "tiff"])
def test_an_image_is_answered_as_its_file_is(pictures: Asked, tmp_path: Path, kind: str) -> None:
    content = picture(kind)
    path = tmp_path / f"picture.{'jpg' if kind == 'jpeg' else kind}"
    path.write_bytes(content)
    wanted = pictures.service.model.predict(path)["y"]
    for body, told in ((content, f"image/{kind}"), form(("x", f"image/{kind}", content))):
        reply = pictures.ask(body, told)
        assert reply.status == 200, reply.body
        np.testing.assert_array_equal(np.float32(reply.content["outputs"]["y"]), wanted)


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_image_is_told(pictures: Asked, kind: str, share: float) -> None:
    content = picture(kind)
    reply = pictures.ask(content[: int(share * len(content))], f"image/{kind}")
    assert reply.status in (415, 422), reply.body
    assert "image" in reply.error or "decoded" in reply.error


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims so many pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9000, 9000), (10_000, 10_000), (60_000, 60_000), (2_000_000_000, 2)])
def test_an_image_that_claims_too_many_pixels_is_refused(pictures: Asked, size: tuple[int, int]) -> None:
    reply = pictures.ask(bomb(*size), "image/png")
    assert reply.status in (413, 422), reply.body
    assert "too many pixels" in reply.error or "decoded" in reply.error


def test_a_picture_that_would_start_a_program_is_refused(pictures: Asked) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    reply = pictures.ask(eps, "image/eps")
    assert reply.status == 415
    assert "PNG, JPEG" in reply.error


def test_an_image_for_a_network_that_takes_none(words: Asked, dense: Asked) -> None:
    assert words.ask(picture("png"), "image/png").status == 422
    reply = dense.ask(picture("png"), "image/png")
    assert reply.status == 422
    assert "is an image, but input x takes" in reply.error


# ---- size


def streamed(asked: Asked, chunk: bytes, count: int, declared: bool) -> Reply:
    """`count` chunks in one request, with or without Content-Length."""
    length = len(chunk) * count

    def chunks() -> Iterator[bytes]:
        for _ in range(count):
            yield chunk

    if declared:
        return asked.ask(chunks(), NPY, Content_Length=str(length))
    return asked.ask(chunks(), NPY)


@pytest.mark.parametrize("declared", [True, False])
def test_a_hundred_megabytes_are_refused_without_being_kept(tiny: Asked, declared: bool) -> None:
    answers(tiny)
    tracemalloc.start()
    try:
        reply = streamed(tiny, bytes(2**18), 400, declared)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reply.status == 413
    assert "allowed: 200000 bytes" in reply.error
    assert peak < 5_000_000
    assert answers(tiny)


def test_who_waits_for_leave_need_not_send_the_body(tiny: Asked) -> None:
    with socket.create_connection(("127.0.0.1", tiny.port), timeout=20) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-npy\r\n"
            b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_who_hangs_up_in_the_middle_takes_no_place(tiny: Asked) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", tiny.port), timeout=20) as client:
            client.sendall(
                b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-npy\r\n"
                b"Content-Length: 1000\r\n\r\nabc"
            )
    assert answers(tiny)


# ---- any bytes


def refusal_of(read: Callable[[], Any]) -> int:
    """The status with which it is refused; 400 too for what is read. Other errors go through."""
    try:
        read()
    except RequestProblem as problem:
        return problem.status
    return 400


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b'{"inputs":']))
def test_any_bytes_are_read_or_refused(body: bytes, begin: bytes) -> None:
    for read in (
        lambda: read_array(begin + body, "it"),
        lambda: read_archive(begin + body, "it", 10_000),
        lambda: read_json(begin + body, ("x",)),
    ):
        assert 400 <= refusal_of(read) < 500


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_a_damaged_archive_is_read_or_refused(at: int, value: int, cut: bool) -> None:
    body = bytearray(npz(image=IMAGES, other=np.arange(5)))
    at %= len(body)
    body[at] = value
    assert 400 <= refusal_of(lambda: read_archive(body[:at] if cut else body, "it", 10_000)) < 500
