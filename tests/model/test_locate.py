from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekit.errors import ModelError
from edgekit.model import locate, locate_module, unwrapped
from edgekit.reference import locate_reference
from edgekit.testing.networks import TinyConvNet

SOURCE = "from torch import nn\nfrom blocks import Block\ndef make_net(): return Block()\n"


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(SOURCE)
    (tmp_path / "blocks.py").write_text("import parts.inner\nclass Block: pass\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "inner.py").write_text("from . import deepest\n")
    (tmp_path / "parts" / "deepest.py").write_text("X = 1\n")
    (tmp_path / "unrelated.py").write_text("X = 1\n")
    return f"{tmp_path / 'net.py'}:make_net"


def test_locating_does_not_import_torch(net: str) -> None:
    code = (
        f"import sys; from edgekit.model import locate; r = locate({net!r}); "
        "assert r.kind == 'factory' and 'torch' not in sys.modules and 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name", ["net.py", "blocks.py", "parts/inner.py", "parts/deepest.py", "parts/__init__.py"]
)
def test_digest_follows_every_local_import(net: str, name: str, tmp_path: Path) -> None:
    before = locate(net).digest
    path = tmp_path / name
    path.write_text(path.read_text() + "Y = 2\n")
    assert locate(net).digest != before


def test_digest_ignores_files_that_are_not_imported(net: str, tmp_path: Path) -> None:
    before = locate(net).digest
    (tmp_path / "unrelated.py").write_text("X = 2\n")
    assert locate(net).digest == before


def test_digest_does_not_depend_on_the_folder(net: str, tmp_path: Path) -> None:
    before = locate(net).digest
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    assert locate(f"{moved / 'net.py'}:make_net").digest == before


def test_digest_follows_the_weights(net: str, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"one")
    one = locate(net, tmp_path / "w.safetensors").digest
    (tmp_path / "w.safetensors").write_bytes(b"two")
    assert len({one, locate(net, tmp_path / "w.safetensors").digest, locate(net).digest}) == 3


def test_package_factory_is_found_without_running_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ekpack" / "nets").mkdir(parents=True)
    (tmp_path / "ekpack" / "__init__.py").write_text("raise RuntimeError('must not run')\n")
    (tmp_path / "ekpack" / "nets" / "__init__.py").write_text("from ..base import Base\n")
    (tmp_path / "ekpack" / "nets" / "small.py").write_text("from . import Base\ndef make(): return Base()\n")
    (tmp_path / "ekpack" / "base.py").write_text("class Base: pass\n")
    monkeypatch.chdir(tmp_path)
    before = locate("ekpack.nets.small:make")
    (tmp_path / "ekpack" / "base.py").write_text("class Base: X = 1\n")
    assert locate("ekpack.nets.small:make").digest != before.digest
    assert "ekpack" not in sys.modules


def test_installed_package_factory_is_found() -> None:
    assert locate("torch.nn:Linear").kind == "factory"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("absent.py:make", r"absent\.py: no such file"),
        ("absent.onnx", r"absent\.onnx: no such file"),
        ("absent.pt2", "no such file"),
        ("net.pt", "holds weights, not a network.*--weights net.pt"),
        ("net.py", r"names no factory; write net\.py:FACTORY"),
        ("net.h5", r"'net\.h5' is not a model: no such file; allowed: file\.py:factory"),
        ("no_such_package.nets:make", "no module named 'no_such_package'"),
        ("json.nothing:make", "no module named 'json.nothing'"),
        ("itertools:chain", "no Python source file|no module named"),
    ],
)
def test_what_is_no_model_is_told(spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        locate(spec)
    assert "\n" not in str(caught.value)


def test_unknown_factory_gets_the_nearest_and_all_names(net: str) -> None:
    with pytest.raises(ModelError, match=r"has no 'make_nte'; allowed: make_net; did you mean 'make_net'\?"):
        locate(net.replace("make_net", "make_nte"))


def test_factory_behind_a_star_import_is_left_to_the_import(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from other import *\n")
    assert locate(f"{tmp_path / 'net.py'}:anything").kind == "factory"


def test_source_that_is_not_python_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("x = 1\ndef make(:\n")
    with pytest.raises(ModelError, match=r"net\.py:2: not valid Python"):
        locate(f"{tmp_path / 'net.py'}:make")


def test_absent_weights_are_told(net: str) -> None:
    with pytest.raises(ModelError, match=r"absent\.safetensors: no such file"):
        locate(net, "absent.safetensors")


def test_weights_of_unknown_suffix_are_told(net: str) -> None:
    with pytest.raises(ModelError, match=r"unknown suffix; allowed: \.safetensors, \.pt, \.pth"):
        locate(net, "weights.npz")


def test_weights_beside_a_whole_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has its own weights"):
        locate(tmp_path / "net.onnx", "w.safetensors")


def test_live_module_is_hashed_over_its_state() -> None:
    net = TinyConvNet()
    before = locate_module(net)
    assert before.kind == "module"
    assert locate_module(net).digest == before.digest
    net.head.bias.data += 1
    assert locate_module(net).digest != before.digest


def external(name: str, location: str) -> onnx.TensorProto:
    """A tensor of two floats that lies in another file."""
    tensor = onnx.helper.make_tensor(
        name, onnx.TensorProto.FLOAT, [2], np.ones(2, np.float32).tobytes(), True
    )
    onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=8)
    tensor.ClearField("raw_data")
    return tensor


def keeping_values_in(place: str, location: str = "w.bin") -> onnx.ModelProto:
    """x [2] + a value [2] that an initializer or an attribute somewhere refers to."""
    make, real = onnx.helper, onnx.TensorProto.FLOAT
    constant = make.make_node("Constant", [], ["w"], value=external("w", location))
    add = make.make_node("Add", ["x", "w"], ["y"])
    nodes, initializers, functions = [add], [], []
    opsets = [make.make_opsetid("", 17), make.make_opsetid("own", 1)]
    if place == "initializer":
        initializers = [external("w", location)]
    elif place == "attribute":
        nodes = [constant, add]
    elif place == "branch":
        branch = make.make_graph([constant], "branch", [], [make.make_tensor_value_info("w", real, [2])])
        true = make.make_tensor("true", onnx.TensorProto.BOOL, [], [True])
        condition = make.make_node("Constant", [], ["c"], value=true)
        choice = make.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=branch)
        nodes = [condition, choice, add]
    else:
        functions = [make.make_function("own", "Shift", ["x"], ["y"], [constant, add], opsets[:1])]
        nodes = [make.make_node("Shift", ["x"], ["y"], domain="own")]
    ports = [make.make_tensor_value_info(name, real, [2]) for name in "xy"]
    graph = make.make_graph(nodes, "g", ports[:1], ports[1:], initializers)
    return make.make_model(graph, opset_imports=opsets, functions=functions)


@pytest.mark.parametrize("place", ["initializer", "attribute", "branch", "function"])
def test_digest_follows_external_data_wherever_it_is_referred_to(tmp_path: Path, place: str) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(keeping_values_in(place).SerializeToString())
    (tmp_path / "w.bin").write_bytes(np.ones(2, np.float32).tobytes())
    before = locate(path).digest
    assert locate(path).digest == before
    (tmp_path / "w.bin").write_bytes(np.zeros(2, np.float32).tobytes())
    assert locate(path).digest != before


@pytest.mark.parametrize("place", ["initializer", "attribute"])
@pytest.mark.parametrize("location", ["../w.bin", "/w.bin"])
def test_external_data_elsewhere_is_refused(tmp_path: Path, place: str, location: str) -> None:
    path = tmp_path / "in" / "net.onnx"
    path.parent.mkdir()
    path.write_bytes(keeping_values_in(place, location).SerializeToString())
    (tmp_path / "w.bin").write_bytes(np.ones(2, np.float32).tobytes())
    with pytest.raises(ModelError, match="outside of its folder"):
        locate(path)


@pytest.mark.parametrize(
    ("place", "names"), [("code.py", ("first", "second")), ("json.decoder", ("JSONDecoder", "scanstring"))]
)
def test_the_digest_holds_the_name_in_a_file_and_in_an_installed_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, names: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code.py").write_text("def first(): pass\ndef second(): pass\n")
    assert len({locate_reference(f"{place}:{name}", ModelError).digest for name in names}) == 2


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        (
            "class Net: pass\ndef make(): pass\ndef _own(): pass\n",
            r"write .*net\.py:FACTORY, as \S*net\.py:make$",
        ),
        ("class A: pass\nclass B: pass\n", r"as \S*net\.py:A or \S*net\.py:B$"),
        ("1 +\n", r"write \S*net\.py:FACTORY$"),
    ],
)
def test_a_bare_file_is_told_what_it_defines(tmp_path: Path, source: str, remedy: str) -> None:
    (tmp_path / "net.py").write_text(source)
    with pytest.raises(ModelError, match=remedy):
        locate(tmp_path / "net.py")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            TinyConvNet,
            r"model is the class TinyConvNet; .*give the trained network itself, as TinyConvNet\(\)",
        ),
        (TinyConvNet().state_dict(), r"model is a OrderedDict; .*weights alone are no network"),
        (7, r"model is a int; allowed: a torch.nn.Module"),
    ],
)
def test_what_is_no_network_is_told_with_the_way_out(model: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        locate_module(model)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what torch.compile imports
def test_what_only_says_how_a_network_runs_is_taken_off() -> None:
    network = TinyConvNet()
    assert unwrapped(torch.compile(network)) is network
    assert unwrapped(torch.nn.DataParallel(torch.compile(network))) is network
    assert unwrapped(network) is network
    assert unwrapped("net.py:make") == "net.py:make"
