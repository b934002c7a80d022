"""A build that follows a plan of a small ViT: heads go, and what is left is trained and runs."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekit.backends.litert.flatbuffer import read_flatbuffer, read_ops
from edgekit.data import make_splits, open_source
from edgekit.latency import save_table, units_of
from edgekit.model import export_onnx, load_module, locate
from edgekit.result import load_result
from edgekit.types import BackendName, Preprocess
from tests.building.command import build_arguments, run
from tests.conftest import UserNetwork
from tests.planning.attentions import attention_table

pytestmark = pytest.mark.slow  # trains a network, and builds it twice

ARCHITECTURE = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
SOURCE = '''"""A user's ViT."""
from tests.planning.attentions import digits_vit


def make():
    return digits_vit()
'''


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> UserNetwork:
    """Some 85 % on the digits, of one layer with four heads."""
    from safetensors.torch import save_file

    from tests.planning.attentions import digits_vit

    folder = tmp_path_factory.mktemp("user")
    (folder / "net.py").write_text(SOURCE, encoding="utf-8")
    splits = make_splits(open_source("digits", Preprocess(), folder / "cache"), seed=0)
    assert splits.train is not None
    torch.set_num_threads(1)
    vit = digits_vit().train()
    optimizer = torch.optim.AdamW(vit.parameters(), lr=2e-3)
    for epoch in range(8):
        for batch in splits.train.batches(32, shuffle_seed=epoch):
            told = vit(torch.from_numpy(batch.inputs[0]))
            loss = torch.nn.functional.cross_entropy(told, torch.from_numpy(batch.labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    save_file(
        {name: value.contiguous() for name, value in vit.state_dict().items()}, folder / "net.safetensors"
    )
    return UserNetwork(folder, f"{folder / 'net.py'}:make", folder / "net.safetensors")


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_a_build_prunes_heads_and_meets_its_budget(
    network: UserNetwork, runtime: BackendName, tmp_path: Path
) -> None:
    example = open_source("digits", Preprocess(), tmp_path).take(np.arange(1)).inputs
    path = tmp_path / "network.onnx"
    export_onnx(load_module(locate(network.model, network.weights)), example, path)
    table = attention_table(units_of(path, runtime, "int8").units, runtime, only_heads=True)
    table = replace(table, measured_on=replace(table.measured_on, arch=ARCHITECTURE, machine="no board"))
    save_table(table, tmp_path / "table.json")
    shared = {"runtime": runtime, "precision": "int8"}
    whole = run(build_arguments(network, tmp_path, out=str(tmp_path / "whole"), max_drop="20%", **shared))
    assert whole.returncode == 0, whole.stderr
    (size,) = {row.size_bytes for row in load_result(tmp_path / "whole" / "result.json").candidates}
    done = run(
        build_arguments(
            network, tmp_path, max_size=str(size - 7000), max_drop="20%", epochs="1",
            latency_table=str(tmp_path / "table.json"), **shared,
        )
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = load_result(tmp_path / "out" / "result.json")
    assert result.verdict == "MEETS"
    assert result.planning is not None
    (trained,) = [plan for plan in result.planning.plans if plan.variant]
    heads, of = trained.widths["net.vit.layers.0.attention.q_proj heads"]
    assert 1 <= heads < of == 4
    assert set(trained.widths) == {"net.vit.layers.0.attention.q_proj heads"}
    winner = next(row for row in result.candidates if row.id == result.winner)
    assert winner.variant == trained.variant
    variant = next(row for row in result.variants if row.id == trained.variant)
    assert variant.macs < result.variants[0].macs
    assert trained.macs == pytest.approx(variant.macs / result.variants[0].macs, rel=0.02)
    packed = 3 * 16 * heads  # the projection of the heads that are left
    assert {(64, packed), (packed, 64)} & stored_shapes(tmp_path / "out")


def stored_shapes(bundle: Path) -> set[tuple[int, ...]]:
    """Of the weights in the artifact of a bundle."""
    for path in bundle.rglob("model.onnx"):
        return {tuple(tensor.dims) for tensor in onnx.load(path).graph.initializer}
    ops = read_ops(read_flatbuffer(next(bundle.rglob("*.tflite"))))
    return {tensor.shape for op in ops for tensor in op.inputs if tensor.constant}
