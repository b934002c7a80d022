"""What OpenVINO's integers are: ranges by channel, small weights on a scale of their own, sums that round once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.backends import get_backend
from edgekit.backends.base import ExportRequest
from edgekit.backends.placement import read_placement
from edgekit.devices.local import local_machine
from edgekit.files import sha256_file
from edgekit.graph import CalibrationData, onnx_cost, read_signature
from edgekit.hardware import find_target
from edgekit.quantize import QuantPlan, find_recipe
from edgekit.quantize.placement import Placement
from edgekit.types import Artifact, Candidate, Variant

pytest.importorskip("nncf")
VNNI = frozenset({"avx2", "fma", "avx512_vnni", "avx_vnni"})
INPUTS = np.random.default_rng(0).normal(0, 1, (64, 3, 12, 12)).astype(np.float32)
SMALL = 2e-3


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inverted residual whose channels differ by up to 50; one of the first layer's filters is tiny."""
    import torch
    from torch import nn

    from edgekit.model import export_onnx

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU())
            self.wide = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU())
            self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU())
            self.narrow = nn.Conv2d(16, 8, 1)
            self.head = nn.Conv2d(8, 10, 12)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.head(x + self.narrow(self.depthwise(self.wide(x)))).flatten(1)

    torch.manual_seed(0)
    model = Block().eval()
    factor = torch.logspace(-0.85, 0.85, 16)
    with torch.no_grad():
        model.wide[0].weight *= factor[:, None, None, None]
        model.wide[0].bias *= factor
        model.depthwise[0].weight /= factor[:, None, None, None]
        model.stem[0].weight[0] *= SMALL
    path = tmp_path_factory.mktemp("unequal") / "net.onnx"
    export_onnx(model, (INPUTS[:1],), path)
    return path


def exported(path: Path, recipe: str, folder: Path) -> tuple[Artifact, QuantPlan]:
    variant = Variant(
        "net", "original", None, "", str(path), sha256_file(path), read_signature(path), onnx_cost(path)
    )
    folder.mkdir()
    request = ExportRequest(
        variant, Candidate("x", "net", "openvino", "int8", recipe), find_target("generic-cpu"), VNNI, folder,
        find_recipe(recipe), CalibrationData(lambda: iter([(INPUTS,)]), len(INPUTS), "digest"),
    )  # fmt: skip
    backend = get_backend("openvino")
    return backend.export(request), backend.plan(request)


@pytest.fixture(scope="module")
def untrained(
    network: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Placement, Path, Artifact, Placement]:
    """Where the INT8 build has integers; the file whose ranges those are; its build; where that has integers."""
    from edgekit.compress.qat.training import untrained_model

    folder = tmp_path_factory.mktemp("builds")
    observed = read_placement(*exported(network, "int8-nncf", folder / "first"), network)
    path = folder / "untrained.onnx"
    onnx.save(untrained_model(network, observed), str(path))
    artifact, plan = exported(path, "int8-trained", folder / "second")
    return observed, path, artifact, read_placement(artifact, plan, path)


def test_a_range_by_channel_is_read_and_written(
    network: Path, untrained: tuple[Placement, Path, Artifact, Placement]
) -> None:
    observed, _, _, placement = untrained
    depthwise = next(
        node for node in onnx.load(str(network)).graph.node
        if node.op_type == "Conv" and any(a.name == "group" and a.i == 16 for a in node.attribute)
    )  # fmt: skip
    assert set(observed.by_channel) == {depthwise.input[0]}
    assert placement.rules == observed.rules
    (before,), (after,) = observed.by_channel.values(), placement.by_channel.values()
    assert len(before) == 16
    assert max(values.high for values in before) > 10 * min(values.high for values in before)
    assert [values.high for values in after] == pytest.approx([values.high for values in before], rel=1e-4)


def test_the_simulation_clips_where_openvino_sums_in_the_same_step(
    untrained: tuple[Placement, Path, Artifact, Placement],
) -> None:
    from edgekit.compress.qat.network import QatNetwork
    from edgekit.graph.taps import load_graph

    if local_machine().features.isdisjoint({"avx512_vnni", "avx_vnni"}):
        pytest.skip("this CPU has no VNNI: products of 8 bits saturate")
    _, path, artifact, placement = untrained
    with get_backend("openvino").open(artifact) as session:
        (name,) = (port["name"] for port in session.signature["inputs"])
        ran = np.concatenate([next(iter(session.run({name: x[None]}).values())) for x in INPUTS])

    def error(placed: Placement) -> float:
        import torch

        with torch.no_grad():
            simulated = QatNetwork(load_graph(path), placed).eval()(torch.from_numpy(INPUTS)).numpy()
        return float(np.sqrt(np.square(simulated - ran).mean()))

    assert placement.clipped
    assert error(placement) < 0.2 * error(replace(placement, clipped=()))


def test_a_small_filter_has_a_scale_of_its_own(
    network: Path, untrained: tuple[Placement, Path, Artifact, Placement]
) -> None:
    import openvino

    initializers = onnx.load(str(network)).graph.initializer
    stem = next(onnx.numpy_helper.to_array(t) for t in initializers if t.dims == [8, 3, 3, 3])
    largest = np.abs(stem).reshape(8, -1).max(1)
    assert largest[0] < 0.01 * largest.max()
    _, _, artifact, _ = untrained
    ir = openvino.Core().read_model(str(Path(artifact.folder) / artifact.entry))
    integers = next(
        np.array(node.data, np.int32)
        for node in ir.get_ordered_ops()
        if node.get_type_name() == "Constant" and list(node.get_output_shape(0)) == [8, 3, 3, 3]
    )
    assert np.abs(integers).reshape(8, -1).max(1).tolist() == [127] * 8
