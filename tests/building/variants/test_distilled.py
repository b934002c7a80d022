"""What a pruned network's training depends on beside the network and the data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.arguments import read_function
from edgekit.building.variants.distilled import code_digest

pytest.importorskip("torch")

CODE = """
from pathlib import Path
import numpy as np
WEIGHTS = np.load(Path(__file__).with_name("weights.npy"))
def loss(outputs, labels, teacher):
    return (outputs * WEIGHTS).sum()
def step(student, inputs, labels, teacher):
    return student(*inputs).sum() * len(WEIGHTS)
"""


@pytest.mark.parametrize("name", ["loss", "step"])
def test_an_array_that_a_loss_read_on_import_is_in_its_digest(tmp_path: Path, name: str) -> None:
    (tmp_path / "train.py").write_text(CODE)
    spec = f"{tmp_path / 'train.py'}:{name}"
    np.save(tmp_path / "weights.npy", np.ones(3))
    first, again = code_digest(spec), code_digest(spec)
    np.save(tmp_path / "weights.npy", np.zeros(3))
    assert first == again
    assert code_digest(spec) != first


def test_another_function_of_one_file_is_another(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(CODE)
    np.save(tmp_path / "weights.npy", np.ones(3))
    assert code_digest(f"{tmp_path / 'train.py'}:loss") != code_digest(f"{tmp_path / 'train.py'}:step")


def test_a_file_that_python_does_not_see_being_opened_counts_where_the_source_names_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "train.py").write_text('def loss(a, b, c):\n    return load_file("w.safetensors")\n')
    (tmp_path / "w.safetensors").write_bytes(b"first")
    first = code_digest(f"{tmp_path / 'train.py'}:loss")
    (tmp_path / "w.safetensors").write_bytes(b"second")
    assert code_digest(f"{tmp_path / 'train.py'}:loss") != first


def weighed(outputs: Any, labels: Any, *, weight: float) -> Any:
    return weight * (outputs - labels).abs().mean()


def test_objects_that_are_called_count_with_what_they_hold() -> None:
    from torch import nn

    losses = (
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.MSELoss(),
        partial(weighed, weight=1.0),
        partial(weighed, weight=2.0),
    )
    specs = [read_function("loss", loss) for loss in losses]
    assert None not in specs
    assert len({code_digest(str(spec)) for spec in specs}) == len(losses)
    assert code_digest(str(specs[0])) == code_digest(str(read_function("loss", nn.CrossEntropyLoss())))
