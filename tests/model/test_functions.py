"""What a live function depends on is in its digest; where it stands and what it is called in is not."""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgekit.model.state import function_digest, state_digest

torch = pytest.importorskip("torch")

BASE = """
import math
import numpy as np
import helper
LIMIT = 0.5
TABLE = np.arange(4)
class Config:
    def __init__(self, share):
        self.share = share
CONFIG = Config(0.1)
def inner(values):
    return values * 2
def metric(outputs, labels, power=2, *, eps=1e-6):
    return inner(outputs ** power) + LIMIT + TABLE[0] + CONFIG.share + helper.add(eps)
"""
HELPER = "def add(x):\n    return x + 1\n"


def load(folder: Path, source: str, helper: str = HELPER) -> ModuleType:
    folder.mkdir()
    (folder / "nets.py").write_text(source)
    (folder / "helper.py").write_text(helper)
    parts = {}
    for name in ("helper", "nets"):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        parts[name] = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "helper", parts["helper"])
            spec.loader.exec_module(parts[name])
    return parts["nets"]


def test_the_same_source_elsewhere_gives_the_same_digest(tmp_path: Path) -> None:
    first = load(tmp_path / "a", BASE).metric
    moved = load(tmp_path / "b", "# a line more\n" + BASE).metric
    assert function_digest(first) == function_digest(moved)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("** power", "* power"),
        ("power=2", "power=3"),
        ("eps=1e-6", "eps=1e-5"),
        ("LIMIT = 0.5", "LIMIT = 0.6"),
        ("np.arange(4)", "np.arange(4) + 1"),
        ("Config(0.1)", "Config(0.2)"),
        ("values * 2", "values * 3"),
    ],
)
def test_whatever_it_depends_on_changes_it(tmp_path: Path, old: str, new: str) -> None:
    assert old in BASE
    first = load(tmp_path / "a", BASE).metric
    other = load(tmp_path / "b", BASE.replace(old, new)).metric
    assert function_digest(first) != function_digest(other)


def test_a_helper_beside_it_changes_it(tmp_path: Path) -> None:
    first = load(tmp_path / "a", BASE).metric
    other = load(tmp_path / "b", BASE, HELPER.replace("x + 1", "x + 2")).metric
    assert function_digest(first) != function_digest(other)


def closure(value: object) -> Callable[[], object]:
    def reads() -> object:
        return value

    return reads


class Scaled:
    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, values: float) -> float:
        return values * self.by

    def method(self, values: float) -> float:
        return values - self.by


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (closure(1), closure(2)),
        (closure(np.zeros(3)), closure(np.ones(3))),
        (closure({"a": [1, 2]}), closure({"a": [1, 3]})),
        (closure(torch.nn.Linear(2, 2)), closure(torch.nn.Linear(2, 2))),
        (functools.partial(math.pow, 2.0), functools.partial(math.pow, 3.0)),
        (functools.partial(math.pow, 2.0), functools.partial(math.fmod, 2.0)),
        (Scaled(1.0), Scaled(2.0)),
        (Scaled(1.0).method, Scaled(2.0).method),
        (Scaled(1.0).method, Scaled(1.0)),
        (np.add, np.subtract),
        (torch.relu, torch.sigmoid),
        (functools.lru_cache(closure(1)), functools.lru_cache(closure(2))),
        (closure(Path("a")), closure(Path("b"))),
    ],
)  # fmt: skip
def test_two_functions_differ(one: Callable[..., object], other: Callable[..., object]) -> None:
    assert function_digest(one) != function_digest(other)
    assert function_digest(one) == function_digest(one)


def test_one_that_calls_itself_ends() -> None:
    def countdown(number: int) -> int:
        return countdown(number - 1) if number else 0

    assert function_digest(countdown) == function_digest(countdown)


def test_a_network_that_holds_a_function_or_an_object_knows_it() -> None:
    def network(held: object) -> torch.nn.Module:
        module = torch.nn.ReLU()
        module.held = held
        return module

    for one, other in (
        (closure(1), closure(2)),
        (Scaled(1.0), Scaled(2.0)),
        (Path("a"), Path("b")),
    ):
        assert state_digest(network(one)) != state_digest(network(other))
    assert state_digest(network(Scaled(1.0))) == state_digest(network(Scaled(1.0)))


def test_the_order_of_layers_in_a_plain_list_counts() -> None:
    def network(order: slice) -> torch.nn.Module:
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        module.taken = [module[0], module[1]][order]
        return module

    assert state_digest(network(slice(None))) != state_digest(network(slice(None, None, -1)))
    assert state_digest(network(slice(None))) == state_digest(network(slice(None)))
