from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgekit.errors import ModelError
from edgekit.model import load_module, locate

NET = "from torch import nn\ndef make(): return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))\n"


def write(folder: Path, source: str = NET) -> str:
    (folder / "net.py").write_text(source)
    return f"{folder / 'net.py'}:make"


def reference() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_factory_gives_a_network_in_eval_mode(tmp_path: Path) -> None:
    module = load_module(locate(write(tmp_path)))
    assert isinstance(module, nn.Module)
    assert not module.training


@pytest.mark.parametrize("kind", ["safetensors", "pt", "wrapped", "parallel"])
def test_weights_are_loaded(tmp_path: Path, kind: str) -> None:
    state = reference().state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "wrapped":
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif kind == "parallel":
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
    else:
        torch.save(state, path)
    module = load_module(locate(write(tmp_path), path))
    assert torch.equal(module.state_dict()["0.weight"], state["0.weight"])


def test_helpers_of_two_folders_with_equal_names_do_not_meet(tmp_path: Path) -> None:
    widths = []
    for width in (3, 5):
        folder = tmp_path / str(width)
        folder.mkdir()
        (folder / "ek_width.py").write_text(f"WIDTH = {width}\n")
        spec = write(
            folder,
            "from torch import nn\nfrom ek_width import WIDTH\ndef make(): return nn.Linear(2, WIDTH)\n",
        )
        widths.append(load_module(locate(spec))(torch.ones(1, 2)).shape[1])
    assert widths == [3, 5]


def test_loading_leaves_nothing_behind(tmp_path: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    load_module(locate(write(tmp_path)))
    assert sys.path == path
    assert set(sys.modules) == modules
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.py"]


def test_package_factory_is_loaded() -> None:
    assert isinstance(load_module(locate("torch.nn:Identity")), nn.Identity)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "def make():\n    raise ValueError('two\\nlines')\n",
            r"the factory .* raised ValueError: two \(.*net\.py:2\)",
        ),
        ("import no_such_thing\ndef make(): pass\n", r"importing .* raised ModuleNotFoundError.*net\.py:1"),
        ("def make(x): pass\n", "raised TypeError"),
        ("def make(): exit()\n", "raised SystemExit"),
        ("def make(): return 5\n", "gave a int; allowed: a torch.nn.Module"),
        ("make = 5\n", "is a int; allowed: a function"),
    ],
)
def test_bad_factories_are_told_in_one_line(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_module(locate(write(tmp_path, source)))
    assert "\n" not in str(caught.value)


def test_keys_that_do_not_match_are_named(tmp_path: Path) -> None:
    state = reference().state_dict()
    state["0.weight"] = torch.zeros(4, 2)
    state["extra"] = state.pop("1.bias")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError) as caught:
        load_module(locate(write(tmp_path), tmp_path / "w.safetensors"))
    message = str(caught.value)
    assert "1 missing (1.bias)" in message
    assert "1 unexpected (extra)" in message
    assert "0.weight is [4, 2], the network has [3, 2]" in message


def test_only_the_first_of_many_keys_are_listed(tmp_path: Path) -> None:
    save_file({f"layer{index}": torch.zeros(1) for index in range(30)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"30 unexpected \(layer0, .* and 26 more\)"):
        load_module(locate(write(tmp_path), tmp_path / "w.safetensors"))


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_pickle_is_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "w.pt"
    if legacy:
        path.write_bytes(pickle.dumps({"0.weight": Malicious(tmp_path / "owned")}))
    else:
        torch.save({"0.weight": Malicious(tmp_path / "owned")}, path)
    with pytest.raises(ModelError, match="was not loaded: it") as caught:
        load_module(locate(write(tmp_path), path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 40, b"PK\x03\x04broken", b"\x80\x04broken"])
def test_corrupt_weights_are_told_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_module(locate(write(tmp_path), path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], reference().state_dict()["0.weight"]])
def test_checkpoints_without_a_state_dict_are_told(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"holds no state dict|not a tensor"):
        load_module(locate(write(tmp_path), tmp_path / "w.pt"))


def test_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(reference(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"more than tensors .*Sequential"):
        load_module(locate(write(tmp_path), tmp_path / "w.pt"))


def test_a_class_that_needs_arguments_is_told_how_to_become_a_factory(tmp_path: Path) -> None:
    source = "class Net:\n    def __init__(self, classes, *, width, depth=2): pass\n"
    (tmp_path / "net.py").write_text(source)
    with pytest.raises(ModelError, match=r"return Net\(classes=\.\.\., width=\.\.\.\)`"):
        load_module(locate(f"{tmp_path / 'net.py'}:Net"))


def test_a_type_error_inside_a_factory_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="raised TypeError") as caught:
        load_module(locate(write(tmp_path, "def make(classes=2): return len(classes)\n")))
    assert "without arguments" not in str(caught.value)
