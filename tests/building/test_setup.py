"""What is wrong with a request is found before any work, in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.building.board import Board
from edgekit.building.given import locate_model
from edgekit.building.request import BuildRequest, TrainOptions
from edgekit.building.setup import prepare
from edgekit.errors import DataError, OutputError, UserError
from edgekit.hardware import find_target
from edgekit.testing.onnx_networks import residual_network, samples
from tests.building.parts import MACHINE


@pytest.fixture
def request_(tmp_path: Path) -> BuildRequest:
    return BuildRequest(
        target="generic-cpu",
        model=residual_network(tmp_path / "net.onnx"),
        data=(samples(200), np.arange(200) % 5),
        backends=("onnxruntime",),
        out=tmp_path / "out",
        store=tmp_path / "store",
    )


def test_a_request_is_resolved_and_nothing_is_loaded_or_written_but_the_store(
    request_: BuildRequest, tmp_path: Path
) -> None:
    setting = prepare(replace(request_, time_limit_s=60.0), print)
    try:
        assert setting.runtimes.usable == ("onnxruntime",)
        assert "onnxruntime" in setting.runtimes.versions
        assert (setting.model.ref.kind, setting.model.module) == ("onnx", None)
        assert setting.splits.sizes()["validation"] == 40
        assert setting.time_limit is not None
        assert setting.time_limit.ends == setting.started + 60.0
        assert not (tmp_path / "out").exists()
    finally:
        setting.store.close()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"executor": "cluster"}, UserError, 'no executor "cluster"; allowed: process, in-process, ray'),
        ({"metric": "top2"}, UserError, "top2"),
        ({"recipe": "int8-minimax"}, UserError, "int8-minmax"),
        ({"precisions": ("fp4",)}, UserError, "generic-cpu cannot run fp4"),
        ({"backends": ("tensorrt",)}, UserError, "generic-cpu does not run TensorRT; allowed: openvino, "),
        ({"data": (samples(200), None, None)}, DataError, "data is a tuple of 3"),
        ({"calibration_samples": 2}, DataError, "2 calibration samples"),
        ({"train": TrainOptions(loss="gone.py:loss")}, UserError, "gone.py"),
        (
            {"qat": "always", "target": "jetson-nano", "backends": None},
            UserError,
            "--qat always: jetson-nano has no int8: ",
        ),
        (
            {"qat": "always", "target": "jetson-orin-nano", "backends": ("tensorrt",)},
            UserError,
            "networks are not trained for the integers of tensorrt; allowed: onnxruntime, openvino, litert",
        ),
        ({"qat": "always", "precisions": ("fp32",)}, UserError, "--qat always trains for INT8"),
        (
            {"qat": "always", "data": {"val": (samples(200), np.arange(200) % 5)}},
            DataError,
            "--qat always: there are no training samples",
        ),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_with_what_would_do(
    request_: BuildRequest, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        prepare(replace(request_, **change), print)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_output_that_is_a_file_is_refused_and_left_alone(request_: BuildRequest, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        prepare(replace(request_, out=tmp_path / "taken" / "out"), print)
    assert (tmp_path / "taken").read_text() == "mine"
    assert not (tmp_path / "store").exists()


def test_a_board_that_is_not_here_is_planned_for_with_what_each_of_them_has() -> None:
    target = find_target("raspberry-pi-4")
    here = replace(MACHINE, features=frozenset({"something"}))
    assert Board(target, here, ()).features == {"something"}
    assert Board(target, here, ("elsewhere",)).features == target.assumed_features


def test_a_factory_s_network_is_found_anew_when_a_file_that_it_reads_has_changed(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from pathlib import Path\nimport torch\n\ndef make():\n"
        "    net = torch.nn.Linear(2, 2)\n"
        "    net.load_state_dict(torch.load(Path(__file__).with_name('w.pt')))\n    return net\n"
    )
    request = BuildRequest("generic-cpu", f"{tmp_path / 'net.py'}:make", "digits")
    digests = []
    for value in (0.0, 1.0):
        torch.save({"weight": torch.full((2, 2), value), "bias": torch.zeros(2)}, tmp_path / "w.pt")
        digests.append(locate_model(request).ref.digest)
    assert digests[0] != digests[1]
    assert locate_model(request).ref.digest == digests[1]


@pytest.mark.parametrize("name", ["result.json", "report.html", "bundle/mine.txt", "bundle"])
def test_what_is_not_edgekits_in_the_output_folder_is_told_before_any_work(
    request_: BuildRequest, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(
        OutputError, match=r"is there and is not .*edgekit; move it away, or give another --out"
    ):
        prepare(request_, print)
    assert not (tmp_path / "store").exists()
    assert (tmp_path / "out" / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("val.npz", "val.npz has features, labels; allowed: x and y"),
        ("absent.npz", "absent.npz: no such file"),
        ("clips", "'clips' is not a data source: no such file or folder"),
        ("absent.py:load", "absent.py: no such file"),
    ],
)
def test_data_of_a_wrong_name_is_told_before_the_factory_is_called(
    request_: BuildRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("def make(): raise RuntimeError('called')\n")
    np.savez(tmp_path / "val.npz", features=np.zeros((4, 2)), labels=np.arange(4))
    with pytest.raises(DataError) as caught:
        prepare(replace(request_, model="net.py:make", data=data), print)
    assert words in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("part", ["all of it", "one layer"])
def test_a_live_network_in_training_stays_so_for_its_owner(request_: BuildRequest, part: str) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5)).eval()
    (network if part == "all of it" else network[1]).train()
    model = locate_model(replace(request_, model=network))
    loaded = model.load()
    assert not any(each.training for each in loaded.modules())
    assert network[1].training
    network.eval()
    assert model.load() is network
