"""Files that a loss or step reads only when it is called: a network that was trained with others does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.building.request import TrainOptions
from edgekit.building.time_limit import TimeLimit
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.distilled import job_for, train_pruned, with_opened
from edgekit.building.variants.job import PruneJob
from edgekit.building.variants.training import prune_config
from edgekit.compress import PruneConfig
from edgekit.errors import StageError
from tests.building.parts import budget
from tests.building.variants.contexts import maker_context
from tests.one_thread import one_thread

__all__ = ["one_thread"]

pytest.importorskip("torch")

CODE = """
import numpy as np, torch
from pathlib import Path
from typing import Any
import torch.nn.functional as F

def weights(name="weights.npy"):
    return torch.from_numpy(np.load(Path(__file__).with_name(name)))

def loss(outputs, labels, teacher):
    return F.cross_entropy(outputs.float(), labels, weight=weights())

def step(student, inputs, labels, teacher):
    return F.cross_entropy(student(*inputs).float(), labels, weight=weights())

def chained(outputs, labels, teacher):
    name = Path(__file__).with_name("which.txt").read_text()
    return F.cross_entropy(outputs.float(), labels, weight=weights(name))
"""


@pytest.fixture
def context(tmp_path: Path) -> Iterator[MakerContext]:
    (tmp_path / "train.py").write_text(CODE)
    save(tmp_path / "weights.npy", 1.0)
    with maker_context(tmp_path / "store") as made:
        yield made


def save(path: Path, first: float) -> None:
    np.save(path, np.asarray([first, *[1.0] * 9], np.float32))


def asking(context: MakerContext, **own: Any) -> MakerContext:
    options = TrainOptions(epochs=1.0, step_epochs=0.2, batch_size=32, importance="magnitude", **own)
    return replace(context, request=replace(context.request, train=options, budget=budget(max_drop=1.0)))


def job_of(context: MakerContext) -> PruneJob:
    return job_for(context, replace(prune_config(context.request.train, 8), ratio_step=0.5), 0.8)


def trained(context: MakerContext) -> str:
    """The digest of the network, which is trained unless it is in the store."""
    return next(
        made.variant.digest
        for made in train_pruned(context, job_of(context))
        if isinstance(made, MadeVariant)
    )


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One text for each training that was begun."""
    from edgekit.building.variants import distilled

    begun: list[str] = []
    train = distilled.train

    def counted(context: MakerContext, job: PruneJob, folder: Path, title: str) -> dict[str, object]:
        begun.append("")
        return train(context, job, folder)

    monkeypatch.setattr(distilled, "train", counted)
    return begun


@pytest.mark.parametrize("kind", ["loss", "step"])
def test_a_file_read_at_each_call_counts(
    context: MakerContext, tmp_path: Path, trainings: list[str], kind: str
) -> None:
    own = asking(context, **{kind: f"{tmp_path / 'train.py'}:{kind}"})
    first = trained(own)
    assert (trained(own), len(trainings)) == (first, 1)
    save(tmp_path / "weights.npy", 50.0)
    other = trained(own)
    assert other != first
    assert (trained(own), len(trainings)) == (other, 2)
    save(tmp_path / "weights.npy", 1.0)
    assert (trained(own), len(trainings)) == (first, 2)


def test_which_file_is_read_may_itself_stand_in_a_file(
    context: MakerContext, tmp_path: Path, trainings: list[str]
) -> None:
    own = asking(context, loss=f"{tmp_path / 'train.py'}:chained")
    (tmp_path / "which.txt").write_text("weights.npy")
    save(tmp_path / "others.npy", 50.0)
    first = trained(own)
    (tmp_path / "which.txt").write_text("others.npy")
    second = trained(own)
    save(tmp_path / "others.npy", 9.0)
    third = trained(own)
    assert len({first, second, third}) == len(trainings) == 3
    assert (trained(own), len(trainings)) == (third, 3)
    opened = {Path(path).name for path, _ in with_opened(job_of(own), own.cache.store).opened}
    assert opened == {"which.txt", "weights.npy", "others.npy"}


def test_what_a_stopped_training_left_is_not_gone_on_with_after_a_change(
    context: MakerContext, tmp_path: Path
) -> None:
    spec = f"{tmp_path / 'train.py'}:loss"
    stopped = asking(context, loss=spec)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgekit.building.variants.job.save_outcome", stop)
        with pytest.raises(KeyboardInterrupt):
            trained(stopped)
    steps = list(context.cache.store.folder.glob("scratch/*/final.safetensors"))
    assert steps
    save(tmp_path / "weights.npy", 50.0)
    changed = trained(stopped)
    with maker_context(tmp_path / "fresh") as fresh:
        assert trained(asking(fresh, loss=spec)) == changed


def test_a_network_that_a_time_limit_cut_short_counts_too(
    context: MakerContext, tmp_path: Path, trainings: list[str]
) -> None:
    import time

    limit = TimeLimit(600.0, time.monotonic() + 66.0)
    own = asking(context, loss=f"{tmp_path / 'train.py'}:loss")
    options = replace(own.request.train, epochs=5000.0)
    own = replace(own, request=replace(own.request, train=options), time_limit=replace(limit, limit_s=400.0))
    first = trained(own)
    assert (trained(own), len(trainings)) == (first, 1)
    save(tmp_path / "weights.npy", 50.0)
    own = replace(own, time_limit=TimeLimit(400.0, time.monotonic() + 66.0))
    assert trained(own) != first
    assert len(trainings) == 2


def test_a_file_that_changes_while_it_is_read_again_and_again_ends_the_training(
    context: MakerContext, tmp_path: Path
) -> None:
    (tmp_path / "moving.py").write_text(
        CODE.replace("def loss(", "COUNT = [1.0]\ndef loss(").replace(
            "    return F.cross_entropy(outputs.float(), labels, weight=weights())\n",
            "    value = F.cross_entropy(outputs.float(), labels, weight=weights())\n"
            "    COUNT[0] += 1\n"
            "    import subprocess, sys\n"
            "    place = str(Path(__file__).with_name('weights.npy'))\n"
            "    made = f'import numpy; numpy.save({place!r}, numpy.full(10, {COUNT[0]}, numpy.float32))'\n"
            "    subprocess.run([sys.executable, '-c', made], check=True)\n"
            "    return value\n",
        )
    )
    with pytest.raises(StageError, match="was changed while training read it"):
        trained(asking(context, loss=f"{tmp_path / 'moving.py'}:loss"))


def test_without_a_loss_of_the_users_the_store_is_not_asked(context: MakerContext) -> None:
    job = job_for(context, PruneConfig(), 0.5)
    assert with_opened(job, None) is job  # type: ignore[arg-type]
