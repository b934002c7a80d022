"""Training for integers: what rounding took comes back, and what is written holds the integers that were trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekit.compress import TrainConfig, accuracy, finetune
from edgekit.compress.qat.training import simulated_network, simulated_outputs, train_for_integers
from edgekit.data import make_splits, open_source
from edgekit.data.splits import Split
from edgekit.graph import CalibrationData
from edgekit.graph.layers import float_tensors, weighted_layers
from edgekit.graph.taps import load_graph
from edgekit.model import export_onnx
from edgekit.quantize import Scheme, collect_ranges
from edgekit.quantize.placement import Placement
from edgekit.quantize.trained import trained_ranges
from edgekit.testing.networks import TinyConvNet
from edgekit.types import Preprocess
from tests.compress.nets import PowerCut

SHORT = TrainConfig(
    epochs=4,
    learning_rate=2e-3,
    optimizer="adamw",
    weight_decay=0.0,
    batch_size=32,
    device="cpu",
    aside=0.1,
    average=0.9,
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split, Split]:
    """A network that knows digits, as ONNX, with training and validation samples."""
    folder = tmp_path_factory.mktemp("qat")
    splits = make_splits(open_source("digits", Preprocess(), folder / "cache"), seed=0)
    assert splits.train is not None
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = TinyConvNet()
    finetune(
        network,
        splits.train,
        TrainConfig(epochs=6, learning_rate=0.1, alpha=1.0, batch_size=32, device="cpu"),
    )
    export_onnx(network, (np.zeros((1, 1, 8, 8), np.float32),), folder / "net.onnx")
    return folder / "net.onnx", splits.train, splits.validation


def placed(path: Path, samples: Split, *, bits: int) -> Placement:
    """Every tensor in 8 bits and every weight in `bits`."""
    inputs = next(iter(samples.batches(128))).inputs
    data = CalibrationData(lambda: iter([inputs]), 128, "digest")
    model = load_graph(path)
    ranges = dict(collect_ranges(path, data))
    layers = tuple(layer.name for layer in weighted_layers(model))
    assert set(ranges) == set(float_tensors(model))
    return Placement("onnxruntime", Scheme(weight_bits=bits), ranges, (), layers)


def test_training_gives_back_most_of_what_coarse_integers_took(digits: tuple[Path, Split, Split]) -> None:
    path, train, validation = digits
    coarse = placed(path, train, bits=2)
    full, before = (accuracy(simulated_network(path, where), validation) for where in (None, coarse))
    outcome = train_for_integers(path, coarse, train, SHORT)
    after = accuracy(outcome.module, validation)
    assert full is not None
    assert before is not None
    assert after is not None
    assert full - before > 0.03
    assert full - after < (full - before) / 3
    assert outcome.kept
    assert outcome.before is not None
    assert outcome.after is not None
    assert outcome.after > outcome.before


def test_what_is_written_holds_the_integers_that_were_trained(
    digits: tuple[Path, Split, Split], tmp_path: Path
) -> None:
    path, train, validation = digits
    eight = placed(path, train, bits=8)
    outcome = train_for_integers(path, eight, train, replace(SHORT, epochs=0.5))
    onnx.save(outcome.model, str(tmp_path / "trained.onnx"))
    ranges = trained_ranges(load_graph(tmp_path / "trained.onnx"))
    again = replace(eight, ranges=ranges)
    (written,) = simulated_outputs(tmp_path / "trained.onnx", again, validation)
    with torch.inference_mode():
        batches = [outcome.module(torch.from_numpy(batch.inputs[0])) for batch in validation.batches(64)]
    assert np.allclose(written, torch.cat(batches).numpy(), atol=1e-5)
    assert ranges != eight.ranges


def test_the_same_arguments_give_the_same_network_and_a_stopped_training_goes_on(
    digits: tuple[Path, Split, Split], tmp_path: Path
) -> None:
    path, train, _ = digits
    eight, config, checkpoint = (
        placed(path, train, bits=8),
        replace(SHORT, epochs=2),
        tmp_path / "c.safetensors",
    )
    whole = train_for_integers(path, eight, train, config).model.SerializeToString()
    with pytest.raises(PowerCut):
        train_for_integers(path, eight, _Failing(train, 45), config, checkpoint=checkpoint)
    assert checkpoint.exists()
    again = train_for_integers(path, eight, train, config, checkpoint=checkpoint)
    assert again.model.SerializeToString() == whole


def test_a_time_limit_shortens_the_training_and_its_network_can_be_used(
    digits: tuple[Path, Split, Split],
) -> None:
    path, train, _ = digits
    outcome = train_for_integers(
        path, placed(path, train, bits=8), train, replace(SHORT, epochs=500), time_limit_s=1.0
    )
    assert outcome.stopped == "time"
    assert outcome.after is not None
    assert outcome.before is not None
    assert outcome.after >= outcome.before


def test_weights_that_training_made_worse_are_not_kept(digits: tuple[Path, Split, Split]) -> None:
    path, train, validation = digits
    eight = placed(path, train, bits=8)
    outcome = train_for_integers(path, eight, train, replace(SHORT, epochs=0.5, learning_rate=30.0))
    assert not outcome.kept
    assert accuracy(outcome.module, validation) == accuracy(simulated_network(path, eight), validation)


class _Failing:
    """Samples of which the power goes after so many batches."""

    def __init__(self, split: Split, left: int) -> None:
        self._split, self.left, self.labels = split, [left], split.labels

    def __len__(self) -> int:
        return len(self._split)

    def batches(self, batch_size: int, *, shuffle_seed: int | None = None):  # type: ignore[no-untyped-def]
        for batch in self._split.batches(batch_size, shuffle_seed=shuffle_seed):
            self.left[0] -= 1
            if self.left[0] < 0:
                raise PowerCut
            yield batch

    def subset(self, places):  # type: ignore[no-untyped-def]
        part = _Failing(self._split.subset(places), 0)
        part.left = self.left
        return part
