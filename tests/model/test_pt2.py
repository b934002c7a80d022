from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.errors import ModelError
from edgekit.graph.equivalence import difference
from edgekit.model import export_onnx, load_module, locate
from edgekit.testing.networks import TinyConvNet

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    torch.manual_seed(0)
    torch.export.save(torch.export.export(TinyConvNet().eval(), (torch.zeros(1, 1, 8, 8),)), path)
    return path


def changed(program: Path, path: Path, change: Callable[[Members], None]) -> Path:
    with zipfile.ZipFile(program) as archive:
        members = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"net/{name}", content)
    return path


def edit(name: str, old: str, new: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        assert old.encode() in members[name]
        members[name] = members[name].replace(old.encode(), new.encode())

    return change


def add(name: str, content: bytes) -> Callable[[Members], None]:
    return lambda members: members.update({name: content})


def test_program_computes_what_the_network_did(program: Path) -> None:
    torch.manual_seed(0)
    network = TinyConvNet().eval()
    x = torch.rand(1, 1, 8, 8)
    module = load_module(locate(program))
    assert not module.training
    assert not difference([network(x).detach().numpy()], [module(x).detach().numpy()])


def test_program_is_exported(program: Path, tmp_path: Path) -> None:
    signature = export_onnx(
        load_module(locate(program)), (np.zeros((1, 1, 8, 8), np.float32),), tmp_path / "n.onnx"
    )
    assert signature.outputs[0].shape == (1, 10)


def test_rewritten_archive_still_loads(program: Path, tmp_path: Path) -> None:
    assert load_module(locate(changed(program, tmp_path / "n.pt2", lambda members: None)))


CONFIG = "data/weights/model_weights_config.json"
GRAPH = "models/model.json"


def guards(members: Members) -> None:
    graph = json.loads(members[GRAPH])
    graph["guards_code"] = ["__import__('os').system('true')"]
    members[GRAPH] = json.dumps(graph).encode()


def shape(members: Members) -> None:
    graph = json.loads(members[GRAPH])
    graph["extra"] = {"as_expr": {"expr_str": "__import__('os')", "hint": None}}
    members[GRAPH] = json.dumps(graph).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(CONFIG, '"use_pickle": false', '"use_pickle": true'), "asks for pickled tensors"),
        (add("data/constants/opaque_obj_0", pickle.dumps(print)), "is a pickled object"),
        (add("data/constants/custom_obj_0", b""), "is a pickled object"),
        (add("data/aotinductor/model/lib.so", b"\x7fELF"), "is compiled code"),
        (add("data/sample_inputs/model.pt", pickle.dumps(print)), "is a pickle of more than tensors"),
        (add("data/weights/model.pt", pickle.dumps(print)), "is a pickle of more than tensors"),
        (edit(GRAPH, "torch.ops.aten.relu.default", "torch.os.system"), "calls 'torch.os.system'"),
        (
            edit(GRAPH, "torch.ops.aten.relu.default", "torch.ops.load_library.x"),
            "calls 'torch.ops.load_library.x'",
        ),
        (edit(GRAPH, "torch.ops.aten.relu.default", "torch.ops.aten.__globals__"), "calls"),
        (guards, "runs"),
        (shape, "evaluates"),
    ],
)
def test_archives_that_would_run_code_are_refused(
    program: Path, tmp_path: Path, change: Callable[[Members], None], message: str
) -> None:
    path = changed(program, tmp_path / "n.pt2", change)
    with pytest.raises(ModelError, match=f"was not loaded: .*{message}") as caught:
        load_module(locate(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "n.pt2").write_bytes(b"garbage")
    with pytest.raises(ModelError, match=r"not a readable \.pt2 program"):
        load_module(locate(tmp_path / "n.pt2"))


def test_a_zip_of_something_else_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "n.pt2", "w") as archive:
        archive.writestr("version", "1")
    with pytest.raises(ModelError, match=r"not a \.pt2 program of torch 2\.8 or later"):
        load_module(locate(tmp_path / "n.pt2"))


def test_a_damaged_program_is_told_in_one_line(program: Path, tmp_path: Path) -> None:
    path = changed(program, tmp_path / "n.pt2", lambda members: members.pop("data/weights/weight_0"))
    with pytest.raises(ModelError) as caught:
        load_module(locate(path))
    assert "\n" not in str(caught.value)
