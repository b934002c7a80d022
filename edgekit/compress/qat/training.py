"""Trains a network for the integers of one runtime, with its own float form as the teacher."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compress.base import forward_outputs, to_tensor
from edgekit.compress.training.aside import hold_aside, score_aside
from edgekit.compress.training.finetune import finetune
from edgekit.graph.taps import load_graph
from edgekit.quantize.trained import with_trained

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import torch
    from numpy.typing import NDArray

    from edgekit.compress.base import Samples
    from edgekit.compress.training.config import TrainConfig
    from edgekit.progress import Step
    from edgekit.quantize.placement import Placement

__all__ = [
    "METHOD",
    "QatOutcome",
    "simulated_outputs",
    "train_for_integers",
    "untrained_model",
]

METHOD = 2
"""Raised when the same arguments would give other weights than before: no key of a training holds our code.

2: masks learn the teacher's chances at each position.
"""

BATCH = 128


@dataclass(frozen=True)
class QatOutcome:
    """A trained network: `module` simulates its integers, `model` is the float ONNX network with its trained ranges.

    `before` and `after`: scores of the simulation on the samples held aside; None without any, or where nothing tells.
    `kept`: whether the trained weights are in it; not where they score less than those of before. `stopped`: as in
    TrainReport. `opened`: files that a loss of the user's read, path → SHA-256.
    """

    module: torch.nn.Module
    model: onnx.ModelProto
    before: float | None
    after: float | None
    kept: bool
    steps: int
    stopped: str
    seconds: float
    opened: dict[str, str] = field(default_factory=dict)


def simulated_network(onnx_path: str | Path, placement: Placement | None = None) -> torch.nn.Module:
    """The network of the file in torch, in eval mode, for batches of any size; with a `placement` its integers are
    simulated. Raises StageError for what cannot be carried over."""
    from edgekit.compress.qat.network import QatNetwork

    return QatNetwork(load_graph(onnx_path), placement).eval()


def untrained_model(onnx_path: str | Path, placement: Placement) -> onnx.ModelProto:
    """The float ONNX network with weights, biases and ranges on their grids, as training begins with them."""
    from edgekit.compress.qat.network import QatNetwork

    model = load_graph(onnx_path)
    network = QatNetwork(model, placement)
    return with_trained(
        model, network.trained_weights(), network.trained_ranges(), network.trained_by_channel()
    )


def simulated_outputs(
    onnx_path: str | Path, placement: Placement | None, samples: Samples
) -> list[NDArray[np.float32]]:
    """What the network of the file, its integers simulated, answers to the samples in their order: per output [N, ...].

    Raises StageError for what cannot be carried over.
    """
    import numpy as np
    import torch

    module = simulated_network(onnx_path, placement)
    parts: list[list[NDArray[np.float32]]] = []
    with torch.inference_mode():
        for batch in samples.batches(BATCH):
            outputs = forward_outputs(module, [to_tensor(array) for array in batch.inputs])
            parts.append([output.float().numpy() for output in outputs])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def train_for_integers(
    onnx_path: str | Path,
    placement: Placement,
    train: Samples,
    config: TrainConfig,
    *,
    progress: Step | None = None,
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
    time_limit_s: float | None = None,
) -> QatOutcome:
    """Train weights, biases and ranges of the float network in the file while `placement` is simulated.

    Of the samples the share that `config.aside` says is held aside; on it the weights that are kept are chosen. The
    teacher is the float network. With a `checkpoint`, a stopped training goes on from there (see `finetune`). Raises
    StageError for what cannot be trained, DataError for too few samples.
    """
    from edgekit.compress.qat.network import QatNetwork

    model = load_graph(onnx_path)
    student, teacher = QatNetwork(model, placement).eval(), QatNetwork(model).eval()
    aside: Samples | None = None
    if config.aside:
        train, aside = hold_aside(train, config.aside, config.seed)
    before = None if aside is None else score_aside(student, aside, teacher)
    untrained = copy.deepcopy(student.state_dict())
    report = finetune(
        student, train, config, teacher=teacher, aside=aside, progress=progress, checkpoint=checkpoint,
        should_stop=should_stop, time_limit_s=time_limit_s,
    )  # fmt: skip
    after, kept = report.aside, True
    if report.stopped == "asked" and aside is not None:
        after = score_aside(student, aside, teacher)
    if before is not None and after is not None and not after >= before:
        student.load_state_dict(untrained)
        kept = False
    written = with_trained(
        model, student.trained_weights(), student.trained_ranges(), student.trained_by_channel()
    )
    return QatOutcome(
        student,
        written,
        before,
        after,
        kept,
        report.steps,
        report.stopped,
        report.seconds,
        dict(report.opened),
    )
