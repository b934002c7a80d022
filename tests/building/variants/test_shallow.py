"""Blocks that a build drops by name or by influence: when it is refused, what is trained, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import edgekit
from edgekit.building.given import GivenModel
from edgekit.building.request import read_blocks
from edgekit.building.variants import shallow
from edgekit.building.variants.base import MadeVariant, MakerContext
from edgekit.building.variants.job import PruneJob
from edgekit.building.variants.shallow import ShallowMaker, asked_blocks, refuse_unknown_blocks
from edgekit.errors import UserError
from edgekit.model import locate_module
from edgekit.types import Choice
from tests.building.parts import count_entries
from tests.building.variants.contexts import maker_context
from tests.one_thread import one_thread

__all__ = ["one_thread"]


class Block(nn.Module):
    """relu(x + gain · f(x))."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.conv, self.norm, self.gain = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.gain * self.norm(self.conv(x)))


class Deep(nn.Module):
    """float32 [N, 1, 8, 8] → logits [N, 10]; the second block does next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(1.0), Block(1e-4), Block(0.5))
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


@pytest.fixture
def context(store: Path) -> Iterator[MakerContext]:
    """A build of Deep that drops its last block, and whose original meets the budget."""
    with maker_context(store) as made:
        module = Deep().eval()
        yield replace(
            made,
            model=GivenModel(locate_module(module), module, "Deep"),
            request=replace(made.request, drop=("blocks.2",)),
            choice=Choice("MEETS", "original-ort-int8", None, ""),
        )


def asking(context: MakerContext, *blocks: str, merge: tuple[str, ...] = ()) -> MakerContext:
    return replace(context, request=replace(context.request, drop=blocks, merge=merge))


class Chained(Deep):
    """Deep with blocks whose convolutions follow each other."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(chain() for _ in range(2)))


def chain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU()
    )


@pytest.mark.parametrize(
    ("given", "blocks"),
    [
        (None, ()),
        ("a.1", ("a.1",)),
        ("a.1, a.2", ("a.1", "a.2")),
        (["a.1"], ("a.1",)),
        ("auto:2", ("auto:2",)),
    ],
)
def test_blocks_are_read_from_a_text_or_a_list(given: Any, blocks: tuple[str, ...]) -> None:
    assert read_blocks(given) == blocks


@pytest.mark.parametrize("given", ["", "a,,b", [3], [""]])
def test_what_names_no_block_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match=r"allowed: names of blocks, as blocks\.3,blocks\.7, or auto:2"):
        read_blocks(given)


def test_nothing_is_dropped_unasked(context: MakerContext) -> None:
    unasked = asking(context)
    assert ShallowMaker().why_not(unasked) is None
    assert list(ShallowMaker().make(unasked)) == []


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_an_exported_file_is_refused_as_pruning_is(context: MakerContext, kind: Any) -> None:
    model = replace(context.model, ref=replace(context.model.ref, kind=kind))
    rejection = ShallowMaker().why_not(replace(context, model=model))
    assert rejection is not None
    assert rejection.what == "dropping blocks"
    assert f"a .{kind} file" in rejection.reason


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        (
            ("blocks.3",),
            r"'blocks\.3' is no block that can be dropped; allowed: blocks\.0, blocks\.1, blocks\.2; did",
        ),
        (("blocks.1", "stem"), "'stem' is no block that can be dropped"),
        (("auto:4",), r"auto:4 asks for more blocks than can be dropped; allowed: up to 3: blocks\.0"),
        (("auto:0",), "drop is 'auto:0'; allowed: names of blocks, or auto:2 alone"),
        (("auto:1", "blocks.1"), "drop is 'auto:1,blocks.1'"),
    ],
)
def test_unknown_blocks_are_refused_in_one_line(context: MakerContext, blocks: Any, told: str) -> None:
    asked = asking(context, *blocks)
    with pytest.raises(UserError, match=told) as refused:
        refuse_unknown_blocks(asked.request, asked.model, asked.source)
    assert "\n" not in str(refused.value)


def test_a_shallow_network_is_trained_described_and_kept(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made,) = ShallowMaker().make(context)
    assert isinstance(made, MadeVariant)
    assert (made.variant.kind, made.variant.parent) == ("pruned", "original")
    assert made.variant.id.startswith("shallow-")
    assert made.variant.description.startswith("without blocks.2: ")
    assert made.history[0] == "blocks dropped: blocks.2"
    assert [step.kind for step in made.steps] == ["final"]
    graph = onnx.load(made.variant.onnx_path).graph
    assert sum(node.op_type == "Conv" for node in graph.node) == 3
    entries = count_entries(context.cache)
    monkeypatch.setattr("edgekit.building.variants.job.prune_iteratively", None)
    (again,) = ShallowMaker().make(context)
    assert again == made
    assert count_entries(context.cache) == entries


def test_a_network_with_merged_convolutions_is_trained_described_and_kept(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Chained().eval()
    model = GivenModel(locate_module(module), module, "Chained")
    context = asking(replace(context, model=model), merge=("blocks.1",))
    (made,) = ShallowMaker().make(context)
    assert isinstance(made, MadeVariant)
    assert made.variant.id.startswith("shallow-")
    assert made.variant.description.startswith("blocks.1 merged: ")
    assert made.history[0] == "convolutions merged: blocks.1"
    graph = onnx.load(made.variant.onnx_path).graph
    assert sum(node.op_type == "Conv" for node in graph.node) == 4  # the stem, two, and one for two
    monkeypatch.setattr("edgekit.building.variants.job.prune_iteratively", None)
    (again,) = ShallowMaker().make(context)
    assert again == made
    jobs: list[PruneJob] = []
    monkeypatch.setattr(shallow, "train_pruned", lambda context, job: jobs.append(job) or [])
    for merge in (("blocks.1",), ("blocks.0",), ("blocks.0", "blocks.1")):
        list(ShallowMaker().make(asking(context, merge=merge)))
    assert len({str(job.key_parts()) for job in jobs}) == 3


@pytest.mark.parametrize(
    ("drop", "merge", "told"),
    [
        (
            (),
            ("block.1",),
            r"'block\.1' is no chain of .* allowed: blocks\.0, blocks\.1; did you mean 'blocks\.1'",
        ),
        ((), ("stem",), "'stem' is no chain of convolutions that can be merged; allowed: blocks"),
        (
            ("auto:1",),
            ("blocks.0",),
            "auto:1 chooses blocks to drop, beside blocks that are to be merged; name",
        ),
        (("blocks",), ("blocks.0",), r"blocks\.0 is to be merged, and is in blocks, which is to be dropped"),
    ],
)
def test_what_cannot_be_merged_is_refused_in_one_line(
    context: MakerContext, drop: Any, merge: Any, told: str
) -> None:
    module = Chained().eval()
    model = GivenModel(locate_module(module), module, "Chained")
    asked = asking(replace(context, model=model), *drop, merge=merge)
    with pytest.raises(UserError, match=told) as refused:
        refuse_unknown_blocks(asked.request, asked.model, asked.source)
    assert "\n" not in str(refused.value)


def test_of_auto_the_block_goes_that_moves_the_outputs_least(
    context: MakerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked_blocks(asking(context, "auto:1")) == ("blocks.1",)
    monkeypatch.setattr(shallow, "measure_blocks", None)  # measured once, and kept
    assert len(asked_blocks(asking(context, "auto:2"))) == 2
    jobs: list[PruneJob] = []
    monkeypatch.setattr(shallow, "train_pruned", lambda context, job: jobs.append(job) or [])
    list(ShallowMaker().make(asking(context, "auto:1")))
    assert (jobs[0].dropped, jobs[0].fraction) == (("blocks.1",), 1.0)


def test_blocks_are_not_dropped_where_nothing_is_trained() -> None:
    with pytest.raises(UserError, match="leave out --no-prune"):
        edgekit.build(target="generic-cpu", model=Deep().eval(), data="digits", drop="blocks.1", prune=False)


@pytest.mark.slow
def test_a_build_measures_the_shallow_network_beside_the_original(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    given: dict[str, Any] = {
        "target": "raspberry-pi-4",
        "model": Deep().eval(),
        "data": (chance.normal(size=(400, 1, 8, 8)).astype(np.float32), None),
        "max_latency": "50ms",
        "max_drop": "100%",
        "runtime": "onnxruntime",
        "precision": "fp32",
        "train": {"epochs": 1.0},
        "out": tmp_path / "out",
        "store": tmp_path / "store",
    }
    with pytest.raises(
        UserError, match=r"'block\.1' is no block that can be dropped; .*did you mean 'blocks\.1'"
    ):
        edgekit.build(**given, drop="block.1")
    result = edgekit.build(**given, drop=["blocks.1", "blocks.2"])
    shallow = result.variants[1]
    assert shallow.description.startswith("without blocks.1, blocks.2: ")
    assert [variant.id for variant in result.variants] == ["original", shallow.id]
    assert {row.variant for row in result.candidates} == {"original", shallow.id}
    assert not result.failures
    assert "without blocks.1, blocks.2" in (tmp_path / "out" / "report.html").read_text()
