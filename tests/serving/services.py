"""Services for tests: bundles of small networks, and a server in this process that is asked over real HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray

import edgekit
from edgekit.bundle import Golden, write_bundle
from edgekit.bundle.manifest import hash_file
from edgekit.serving.app import make_app
from edgekit.serving.service import Service, ServiceLimits
from edgekit.types import Artifact, Audit, Preprocess, Signature, TensorSpec
from tests.bundles import bundle_parts

LIMITS = ServiceLimits(max_request_bytes=200_000)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one line of a refusal."""
        content = self.content
        assert list(content) == ["error"]
        assert "\n" not in content["error"]
        return str(content["error"])


@dataclass(frozen=True)
class Asked:
    """A service that listens."""

    port: int
    service: Service

    def ask(
        self,
        body: Any = None,
        kind: str = "",
        *,
        path: str = "/predict",
        method: str = "POST",
        **headers: str,
    ) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if kind:
            named["Content-Type"] = kind
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask(path=path, method="GET", **headers)


@contextmanager
def served(
    bundle: Path, limits: ServiceLimits = LIMITS, token: str = "", workers: int = 1
) -> Iterator[Asked]:
    """The bundle on a free port, by a server in a thread of this process."""
    service = Service([edgekit.load(bundle) for _ in range(workers)], "tiny", limits)
    server = uvicorn.Server(
        uvicorn.Config(make_app(service, token), log_level="critical", ws="none", lifespan="on")
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Asked(listening.getsockname()[1], service)
        finally:
            server.should_exit = True
            thread.join()


def onnx_bundle(
    folder: Path, model: Any, signature: Signature, golden: Golden, preprocess: Preprocess | None = None
) -> Path:
    """A bundle of an ONNX model that a test has made."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    made = folder / "made"
    made.mkdir(parents=True)
    onnx.save(model, str(made / "model.onnx"))
    files = (hash_file(made / "model.onnx", "model.onnx"),)
    artifact = Artifact(
        "c", "onnxruntime", str(made), "model.onnx", files, 1, 0.1, {"onnxruntime": "1"}, {}, Audit("fp32")
    )
    parts = bundle_parts(artifact, preprocess or Preprocess(), ())
    parts |= {"variant": replace(parts["variant"], signature=signature), "golden": golden}
    write_bundle(folder / "bundle", **parts)
    return folder / "bundle"


def nodes_model(nodes: Any, inputs: Any, outputs: Any, constants: Mapping[str, NDArray[Any]]) -> Any:
    """An ONNX model of `nodes`; inputs and outputs are (name, type, shape) each."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def dense_bundle(folder: Path, *, dynamic: bool = False) -> Path:
    """x [N, 8] times a matrix, N free. `dynamic`: by integers whose range is taken over the whole batch."""
    onnx = pytest.importorskip("onnx")
    node, real = onnx.helper.make_node, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(8, 3)).astype(np.float32)
    samples = rng.normal(size=(4, 8)).astype(np.float32)
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    if dynamic:
        nodes = [
            node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            node("DequantizeLinear", ["q", "scale", "zero"], ["back"]),
            node("MatMul", ["back", "w"], ["y"]),
        ]
    model = nodes_model(nodes, [("x", real, ["N", 8])], [("y", real, ["N", 3])], {"w": weights})
    session = pytest.importorskip("onnxruntime").InferenceSession(model.SerializeToString())
    outputs = np.concatenate([session.run(None, {"x": samples[index : index + 1]})[0] for index in range(4)])
    signature = Signature((TensorSpec("x", "float32", (None, 8)),), (TensorSpec("y", "float32", (None, 3)),))
    return onnx_bundle(folder, model, signature, Golden((samples,), (outputs,)))


def words_bundle(folder: Path) -> Path:
    """Two inputs: ids [1, 4] int32 look up rows of a table of ten, which are added to `shift` [1, 2]."""
    onnx = pytest.importorskip("onnx")
    node, types = onnx.helper.make_node, onnx.TensorProto
    rng = np.random.default_rng(2)
    table = rng.normal(size=(10, 2)).astype(np.float32)
    ids = rng.integers(0, 10, (3, 4)).astype(np.int32)
    shift = rng.normal(size=(3, 2)).astype(np.float32)
    model = nodes_model(
        [
            node("Gather", ["table", "ids"], ["rows"]),
            node("Add", ["rows", "shift"], ["sum"]),
            node("Neg", ["sum"], ["less"]),
        ],
        [("ids", types.INT32, [1, 4]), ("shift", types.FLOAT, [1, 2])],
        [("sum", types.FLOAT, [1, 4, 2]), ("less", types.FLOAT, [1, 4, 2])],
        {"table": table},
    )  # fmt: skip
    sums = table[ids] + shift[:, None]
    signature = Signature(
        (TensorSpec("ids", "int32", (1, 4)), TensorSpec("shift", "float32", (1, 2))),
        (TensorSpec("sum", "float32", (1, 4, 2)), TensorSpec("less", "float32", (1, 4, 2))),
    )
    return onnx_bundle(folder, model, signature, Golden((ids, shift), (sums, -sums)))
