"""A network of transformers and data that is not for it: each in one line, whatever runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.board import Model
from edgekit.board.preprocess import SampleError
from edgekit.cli import main
from edgekit.model import export_onnx
from edgekit.serving.checking import checked_rows
from edgekit.serving.problems import RequestProblem
from tests.one_thread import one_thread

__all__ = ["one_thread"]

pytest.importorskip("transformers")

NET = """
import torch
from transformers import BertConfig, BertForSequenceClassification


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                            intermediate_size=16, max_position_embeddings=16, num_labels=2)
        self.bert = BertForSequenceClassification(config)

    def forward(self, input_ids, attention_mask):
        return self.bert(input_ids, attention_mask=attention_mask).logits


def make():
    return Net().eval()


def make_whole():
    return Net().bert.eval()
"""

DATA = """
import numpy as np

ids = np.random.default_rng(0).integers(0, 50, (300, 8))
mask, y = np.ones((300, 8), np.int64), (ids[:, 0] > 25).astype(np.int64)


def good():
    return [((ids, mask), y)]


def changed(sample, value):
    other = ids.copy()
    other[sample, 3] = value
    return other


def outside():
    return [((changed(137, 77), mask), y)]


def negative():
    return [((changed(17, -1), mask), y)]


def floats():
    return [((ids.astype(np.float32), mask), y)]


def halves():
    return [((ids + 0.5, mask), y)]


def unmasked():
    return [(ids, y)]


def swapped():
    return [((mask, ids), y)]
"""

OUTSIDE = "sample 137 has token id 77 in input_ids, the network's embedding has 50 rows; allowed: 0 to 49"
NEGATIVE = "sample 17 has token id -1 in input_ids, the network's embedding has 50 rows; allowed: 0 to 49"
FLOATS = (
    "the token ids of input_ids are float32; allowed: whole numbers; store them with ids.astype(numpy.int64)"
)


def told(capsys: pytest.CaptureFixture[str], model: str, data: str) -> str:
    """What the command line says of it in its one line."""
    with pytest.raises(SystemExit) as ended:
        main(
            ["build", "--target", "generic-cpu", "--model", model, "--data", f"data.py:{data}",
             "--max-latency", "auto", "--no-prune", "--quiet"]
        )  # fmt: skip
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edgekit: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "data.py").write_text(DATA)
    return tmp_path


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("outside", OUTSIDE),
        ("negative", NEGATIVE),
        ("floats", FLOATS),
        ("halves", FLOATS),
        (
            "unmasked",
            "has one input per sample, and the network takes attention_mask as well; allowed: (input_ids, ",
        ),
        (
            "swapped",
            "in attention_mask; allowed: 1 where a token is, 0 where none is; are the inputs in the order",
        ),
    ],
)
def test_a_torch_network_is_given_tokens(
    folder: Path, capsys: pytest.CaptureFixture[str], data: str, line: str
) -> None:
    assert line in told(capsys, "net.py:make", data)


def test_a_mask_that_the_network_could_do_without_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it every padding would count as a word."""
    assert "the network takes attention_mask as well" in told(capsys, "net.py:make_whole", "unmasked")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("outside", OUTSIDE),
        ("negative", NEGATIVE),
        ("floats", FLOATS),
        (
            "unmasked",
            "has 1 inputs per sample, the network takes 2: input_ids, attention_mask; a sample is a tuple",
        ),
    ],
)
def test_an_onnx_file_is_given_tokens(
    folder: Path, capsys: pytest.CaptureFixture[str], data: str, line: str
) -> None:
    namespace: dict[str, Any] = {}
    exec(NET, namespace)
    ids = np.arange(8)[None] % 7
    export_onnx(
        namespace["make"](),
        (ids, np.ones_like(ids)),
        folder / "net.onnx",
        input_names=["input_ids", "attention_mask"],
    )
    assert line in told(capsys, "net.onnx", data)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the network in float."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "net.py").write_text(NET)
    (folder / "data.py").write_text(DATA)
    edgekit.build(
        target="generic-cpu",
        model=f"{folder / 'net.py'}:make",
        data=f"{folder / 'data.py'}:good",
        max_latency="auto",
        compress="none",
        precision="fp32",
        runtime="onnxruntime",
        allow_weak_original=True,
        out=folder / "out",
        store=folder / "store",
    )
    return folder / "out" / "bundle"


GOOD = np.arange(8) % 7
ONES = np.ones(8, np.int64)
WRONG = [
    (
        np.where(GOOD == 3, 77, GOOD),
        ONES,
        "input_ids has token id 77, the network's embedding has 50 rows; allowed: 0 to 49",
    ),
    (np.where(GOOD == 3, -1, GOOD), ONES, "input_ids has token id -1, the network's embedding has 50 rows"),
    (GOOD + 0.5, ONES, "input_ids came as float32 with values that are no int64; allowed: whole numbers"),
    (GOOD, GOOD, "attention_mask has 2; allowed: 1 where a token is, 0 where none is"),
]


@pytest.mark.parametrize(("ids", "mask", "line"), WRONG)
def test_a_bundle_in_service_is_given_tokens(bundle: Path, ids: Any, mask: Any, line: str) -> None:
    sample = {"input_ids": ids, "attention_mask": mask}
    with Model(bundle) as model:
        names = [spec["name"] for spec in model.inputs]
        assert names == list(sample)
        model.predict({"input_ids": GOOD, "attention_mask": ONES})
        model.predict({"input_ids": GOOD.astype(np.float64), "attention_mask": ONES})
        with pytest.raises(SampleError) as refused:
            model.predict(sample)
        assert line in str(refused.value)
        with pytest.raises(RequestProblem) as answered:
            checked_rows(model, sample, 8)
        assert answered.value.status == 422


def test_two_artifacts_are_compared_on_tokens_that_one_of_them_does_not_have(
    folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = ["compare", str(next(bundle.rglob("*.onnx"))), str(bundle), "--samples", "300", "--data"]
    wrong = {
        "good": "",
        "outside": "token id 77",
        "negative": "token id -1",
        "halves": "values that are no int64",
    }
    for data, line in wrong.items():
        with pytest.raises(SystemExit) as ended:
            main([*compare, f"data.py:{data}"])
        assert ended.value.code == (2 if line else 0)
        assert line in capsys.readouterr().err
