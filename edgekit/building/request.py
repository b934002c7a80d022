"""What a build is asked to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit.building.executor import DEFAULT_EXECUTOR
from edgekit.devices.table import DEFAULT_DEVICE
from edgekit.errors import UserError
from edgekit.types import BackendName, Budget, InputShape, Precision, Preprocess
from edgekit.types.measurements import TIMED_S

if TYPE_CHECKING:
    import torch

__all__ = ["DROP_AUTO", "BuildRequest", "TrainOptions", "read_blocks"]

DROP_AUTO = "auto:"
"""Before the number of blocks that edgekit chooses itself."""


@dataclass(frozen=True)
class TrainOptions:
    """How pruned networks are trained.

    `epochs` is the length of the final fine-tuning (None: 12, or what the time limit affords); each pruning
    step before it trains for `step_epochs`. `temperature` and `alpha` are T and α of the distillation loss.
    `loss` and `step` are Python references (`file.py:function`).
    """

    epochs: float | None = None
    step_epochs: float = 0.5
    learning_rate: float | None = None
    batch_size: int = 128
    temperature: float = 4.0
    alpha: float = 0.3
    importance: Literal["magnitude", "taylor", "activation"] = "activation"
    step_ratio: float = 0.10
    device: Literal["auto", "cpu", "cuda"] = "auto"
    loss: str | None = None
    step: str | None = None


@dataclass(frozen=True)
class BuildRequest:
    """One build. `data` is a path, a built-in name, or what `data.from_python` takes: (x, y), a Dataset, a source, ….

    `executor`: where lints, exports and training run, a name of EXECUTORS, or ray://HOST:PORT. `device`: what measures:
    "local", ssh://user@host or a name of devices.toml. `classes`: names in label order, or a text file with one a line.
    `allow_weak_original`: a network that is no better than a guess is built with a warning. `input_shapes`: of inputs
    whose sizes the model leaves open. `weights_prefix` and `weights_key`: see `model.WeightsPart`.
    `timed_s`: timed runs of each candidate; without `repeat` a noisy measurement is told, not made again.
    `drop`: residual blocks, by their modules' names, that a variant of its own goes without; or ("auto:2",).
    `strict`: a throttled or drifting measurement is a failure, not only marked. `meter`: a command, word by word, that
    prints the board's power in watts. `latency_table`: the file of a table of layers' times, by which widths and blocks
    are chosen, and the layers that INT8 leaves in float, or "auto": it is measured; None: networks are pruned by their
    MACs, and the most sensitive layers stay in float.
    """

    target: str
    model: str | Path | torch.nn.Module
    data: str | Path | object
    budget: Budget = field(default_factory=Budget)
    weights: Path | None = None
    weights_prefix: str = ""
    weights_key: str = ""
    preprocess: Preprocess = field(default_factory=Preprocess)
    threads: int = 1
    recipe: str | None = None
    precisions: tuple[Precision, ...] | None = None
    backends: tuple[BackendName, ...] | None = None
    prune: bool = True
    drop: tuple[str, ...] = ()
    train: TrainOptions = field(default_factory=TrainOptions)
    metric: str | None = None
    calibration_samples: int = 512
    seed: int = 0
    time_limit_s: float | None = None
    out: Path = Path("edgekit-out")
    store: Path = Path(".edgekit")
    command: str = ""
    classes: str | Path | Sequence[str] | None = None
    allow_weak_original: bool = False
    input_shapes: tuple[InputShape, ...] = ()
    executor: str = DEFAULT_EXECUTOR
    device: str = DEFAULT_DEVICE
    timed_s: float = TIMED_S
    repeat: bool = True
    strict: bool = False
    meter: tuple[str, ...] = ()
    latency_table: Path | str | None = None

    def describe_model(self) -> str:
        """How the model was named, for people."""
        return str(self.model) if isinstance(self.model, (str, Path)) else type(self.model).__name__

    def wants(self, names: Sequence[BackendName]) -> tuple[BackendName, ...]:
        """Those of `names` that the user did not exclude."""
        return tuple(name for name in names if self.backends is None or name in self.backends)


def read_blocks(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Blocks to drop, "blocks.3,blocks.7" or a sequence, as `BuildRequest.drop`; None is none. Raises UserError."""
    if given is None:
        return ()
    names = given.split(",") if isinstance(given, str) else list(given)
    if not all(isinstance(name, str) and name.strip() for name in names) or (
        isinstance(given, str) and not names
    ):
        raise UserError(f"drop is {given!r}", allowed="names of blocks, as blocks.3,blocks.7, or auto:2")
    return tuple(name.strip() for name in names)
