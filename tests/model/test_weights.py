"""Weights as tools save them: read by all their names, or refused in a line that says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.errors import ModelError
from edgekit.model.locate import locate
from edgekit.model.weights import load_weights


def network(seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())


STATE = network(7).state_dict()


def under(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in STATE.items()}


def load(folder: Path, content: Any, name: str = "w.pt") -> tuple[torch.nn.Module, tuple[str, ...]]:
    torch.save(content, folder / name)
    module = network()
    return module, load_weights(module, folder / name)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (STATE, ""),
        (under("module."), ""),
        (under("_orig_mod."), "'_orig_mod.' before every name"),
        (under("module._orig_mod."), "'module._orig_mod.' before"),
        (under("net.backbone.model."), "'net.backbone.model.' before"),
        ({"state_dict": under("model."), "epoch": 3, "hyper_parameters": {"lr": 0.1}}, "'model.' before"),
        ({"model": {"state_dict": STATE}, "optimizer": {"state": {}, "param_groups": []}}, ""),
        ({"params_ema": STATE, "params": STATE}, ""),
        ({"net": STATE, "acc": 93.0}, ""),
        (
            {**STATE, "total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)},
            "2 values that a profiler",
        ),
        ({**under("module."), "module.total_ops": torch.zeros(1)}, "1 values that a profiler"),
    ],
)
def test_weights_in_every_wrapping_are_loaded(tmp_path: Path, content: Any, told: str) -> None:
    module, notes = load(tmp_path, content)
    assert all(torch.equal(value, STATE[name]) for name, value in module.state_dict().items())
    assert (told in notes[0]) if told else notes == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"state_dict_ema": STATE, "state_dict": network(8).state_dict()},
            "two different sets of weights that fit",
        ),
        ({**under("model."), "loss.weight": torch.ones(2)}, "save only what stands under 'model.'"),
        ({"epoch": 3, "state_dict": {}}, "holds no state dict"),
        ({**STATE, "9.weight": torch.ones(2)}, r"1 unexpected \(9.weight\)"),
        ({"0.weight": STATE["0.weight"]}, "missing"),
    ],
)
def test_weights_that_do_not_fit_are_told_in_one_line(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        load(tmp_path, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth.tar", "w.ckpt", "w.bin", "w.pth"])
def test_files_of_every_suffix_are_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / "net.py").write_text("def make(): ...\n")
    module, _ = load(tmp_path, STATE, name)
    assert torch.equal(module.state_dict()["0.weight"], STATE["0.weight"])
    assert locate(f"{tmp_path / 'net.py'}:make", tmp_path / name).weights == (tmp_path / name).resolve()
    with pytest.raises(ModelError, match="unknown suffix"):
        locate(f"{tmp_path / 'net.py'}:make", tmp_path / "w.tar")
