"""Weights as tools save them: read by all their names, or refused in a line that says which."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.errors import ModelError
from edgekit.model.load import identified
from edgekit.model.locate import WeightsPart, locate
from edgekit.model.weights import load_weights


def network(seed: int = 1) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())


STATE = network(7).state_dict()


def under(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in STATE.items()}


def load(
    folder: Path, content: Any, name: str = "w.pt", **part: str
) -> tuple[torch.nn.Module, tuple[str, ...]]:
    torch.save(content, folder / name)
    module = network()
    return module, load_weights(module, folder / name, WeightsPart(**part))


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
            "two different sets of weights that fit.*--weights-key state_dict_ema or --weights-key state_dict",
        ),
        (
            {**under("model."), "loss.weight": torch.ones(2)},
            "--weights-prefix model. takes only what stands under it",
        ),
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


OTHER = {f"teacher.{name}": value for name, value in network(8).state_dict().items()}
BOTH = {**under("student."), **OTHER}
SEVERAL = {"ema": {"state_dict": STATE}, "model": network(8).state_dict(), "epoch": 3}


@pytest.mark.parametrize(
    ("content", "part", "told"),
    [
        (
            BOTH,
            {"prefix": "student."},
            r"'student.' before 7 names was taken away; 7 other .*\(teacher.0.weight\)",
        ),
        (BOTH, {"prefix": "student"}, "'student.' before 7 names"),
        (under("net_"), {"prefix": "net_"}, "'net_' before 7 names was taken away$"),
        ({**under("student.module."), **OTHER}, {"prefix": "student"}, "'student.' before 7 names"),
        (SEVERAL, {"key": "ema.state_dict"}, ""),
        ({"a": BOTH, "b": OTHER}, {"key": "a", "prefix": "student."}, "7 other values"),
        ({"a": BOTH, "b": {"x": torch.ones(1)}}, {"prefix": "student."}, "7 other values"),
    ],
)
def test_a_prefix_or_a_key_says_which_weights_are_meant(
    tmp_path: Path, content: Any, part: dict[str, str], told: str
) -> None:
    module, notes = load(tmp_path, content, **part)
    assert all(torch.equal(value, STATE[name]) for name, value in module.state_dict().items())
    assert re.search(told, notes[0]) if told else notes == ()


@pytest.mark.parametrize(
    ("content", "part", "said"),
    [
        (BOTH, {}, r"--weights-prefix student. or --weights-prefix teacher. takes only"),
        (BOTH, {"prefix": "pupil."}, r"begins with 'pupil.'.*allowed: student., teacher."),
        (STATE, {"prefix": "model."}, "allowed: 0., 1."),
        ({"bias": torch.ones(1)}, {"prefix": "model."}, "allowed: no --weights-prefix"),
        (BOTH, {"prefix": "student.0."}, "does not fit the network: .* missing"),
        (SEVERAL, {}, "--weights-key ema.state_dict or --weights-key model"),
        (SEVERAL, {"key": "ema"}, r"no weights under 'ema'.*allowed: ema.state_dict, model"),
        (STATE, {"key": "model"}, "allowed: no --weights-key: they lie in the file itself"),
    ],
)
def test_a_prefix_or_key_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, content: Any, part: dict[str, str], said: str
) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        load(tmp_path, content, **part)
    assert "\n" not in str(caught.value)


def test_the_digest_knows_the_part_by_what_it_loads(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())\n"
    )
    spec, file = f"{tmp_path / 'net.py'}:make", tmp_path / "w.pt"
    torch.save({"x": BOTH}, file)

    def digest(**part: str) -> str:
        return identified(locate(spec, file, WeightsPart(**part))).digest

    assert digest(prefix="student.") == digest(prefix="student", key="x")
    assert digest(prefix="student.") != digest(prefix="teacher.")


@pytest.mark.parametrize("part", [WeightsPart(prefix="a."), WeightsPart(key="b")])
def test_a_part_without_weights_is_refused(tmp_path: Path, part: WeightsPart) -> None:
    (tmp_path / "net.py").write_text("def make(): ...\n")
    with pytest.raises(ModelError, match=f"{part.options()[0]} without --weights"):
        locate(f"{tmp_path / 'net.py'}:make", None, part)
