"""What cannot be one file: networks that decide by values, draw random numbers, or remember."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, save
from torch import nn
from torch.nn import functional

from edgekit.errors import ModelError
from edgekit.graph.equivalence import difference, run_onnx
from edgekit.graph.proto import read_model
from edgekit.model import export_onnx, import_onnx
from edgekit.model.probes import made_up

RNG = np.random.default_rng(0)
FLOATS = RNG.standard_normal((20, 6)).astype(np.float32)
SENTENCES = np.array([[*RNG.integers(1, 9, size), *[0] * (6 - size)] for size in (5, *range(1, 7))])


class Words(nn.Module):
    """Classifies sentences, padded with zeros."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(9, 4, padding_idx=0)
        self.turn = nn.Linear(4, 4)
        self.mix = nn.Conv1d(4, 4, 3, padding=1)


class Trimming(Words):
    """Tracing fixes the length; torch.export keeps it a value of the graph."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = int((ids != 0).sum(1).max())
        words = self.mix(self.table(ids[:, :length]).transpose(1, 2))
        return self.turn(words.relu().amax(2))


class UntilTheEnd(Words):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        total = self.turn.bias
        for place in range(ids.shape[1]):
            if ids[0, place] == 0:
                break
            total = torch.tanh(total + self.turn(self.table(ids[:, place])))
        return total


class Masking(Words):
    """The same in tensors: fit for any length."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.turn(self.table(ids)).masked_fill((ids == 0)[..., None], -1e4).amax(1)


class AsLongAsItIs(Words):
    """Tracing fixes the length, and torch.export cannot follow it into the loop."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        words = self.turn(self.table(ids))
        return torch.stack([words[:, place] for place in range(int((ids != 0).sum(1).max()))]).sum(0)


class OneNumber(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (2 if x.sum().item() > 0 else 3)


class AlwaysDropping(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"kept": x, "dropped": functional.dropout(x, 0.5)}


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(6)


class NumpyNoise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(np.random.rand())


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + self.calls


class LastFrame(nn.Module):
    """Remembers its last input in a plain attribute."""

    frame = torch.zeros(1, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved, self.frame = x - self.frame, x
        return moved


class Remembering(nn.Module):
    """Computes its grid once: the answers do not change by it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not hasattr(self, "grid"):
            self.grid = torch.arange(6.0)
        return x + self.grid


@pytest.mark.parametrize(
    ("network", "example", "wrong"),
    [
        (AsLongAsItIs, SENTENCES, "5 of 7"),
        (UntilTheEnd, SENTENCES, "5 of 7"),
        (OneNumber, FLOATS, r"\d+ of 20"),
    ],
)
def test_what_is_decided_by_values_is_refused_with_the_line(
    network: type[nn.Module], example: np.ndarray, wrong: str, tmp_path: Path
) -> None:
    said = rf"differs from torch's on {wrong} samples \(at worst .*decides by values .*test_fidelity.py:\d+"
    with pytest.raises(ModelError, match=said) as caught:
        export_onnx(network(), (example,), tmp_path / "n.onnx")
    assert "\n" not in str(caught.value)
    assert "torch.where" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_one_sentence_is_enough_to_see_that_its_length_counts(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="differs from torch's on a made-up input"):
        export_onnx(AsLongAsItIs(), (SENTENCES[:1],), tmp_path / "n.onnx")


@pytest.mark.parametrize(
    ("network", "example"), [(Trimming, SENTENCES), (Masking, SENTENCES), (Remembering, FLOATS)]
)
def test_what_an_exporter_follows_is_written_and_right_on_every_sample(
    network: type[nn.Module], example: np.ndarray, tmp_path: Path
) -> None:
    module = network().eval()
    export_onnx(module, (example,), tmp_path / "n.onnx")
    model = read_model(tmp_path / "n.onnx")
    for sample in (example[index : index + 1] for index in range(len(example))):
        with torch.no_grad():
            wanted = module(torch.from_numpy(sample)).numpy()
        assert difference([wanted], run_onnx(model, (sample,))) == ""


@pytest.mark.parametrize(
    ("network", "drawn"),
    [(AlwaysDropping, r"bernoulli_ at test_fidelity.py:\d+"), (Noisy, r"rand at test_f"), (NumpyNoise, "")],
)
def test_a_network_that_is_random_in_eval_mode_is_refused(
    network: type[nn.Module], drawn: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=rf"random in eval mode.*{drawn}.*training=self\.training"):
        export_onnx(network(), (FLOATS[:1],), tmp_path / "n.onnx")


@pytest.mark.parametrize(("network", "what"), [(Counting, "calls"), (LastFrame, "frame")])
def test_a_network_with_a_memory_is_refused(network: type[nn.Module], what: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"keeps state between calls.*{what} changes with its calls"):
        export_onnx(network(), (FLOATS[:1],), tmp_path / "n.onnx")


def test_a_sample_that_torch_does_not_take_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"forward\(\) raised IndexError"):
        export_onnx(Masking(), (np.concatenate([SENTENCES, SENTENCES[:1] + 9]),), tmp_path / "n.onnx")


def test_made_up_whole_numbers_are_the_sample_s_own_and_of_other_lengths() -> None:
    sample = SENTENCES[:1]
    other, shorter, longer = (arrays[0] for arrays in made_up((sample,)))
    assert sorted(other[0]) == sorted(sample[0])
    assert not np.array_equal(other, sample)
    assert (np.count_nonzero(shorter), np.count_nonzero(longer)) == (3, 6)
    assert {*longer[0], *shorter[0]} <= {*sample[0]}


def test_an_onnx_file_that_is_random_is_refused(tmp_path: Path) -> None:
    port = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 6]) for name in ("x", "noise", "y")]
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "random", port[:1], port[2:])
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "r.onnx",
    )
    with pytest.raises(ModelError, match=r"r\.onnx is random"):
        import_onnx(tmp_path / "r.onnx", tmp_path / "out.onnx")
