"""What a build is asked to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgekit.building.executor import DEFAULT_EXECUTOR
from edgekit.compress import FeaturePairs, Features
from edgekit.devices.table import DEFAULT_DEVICE
from edgekit.errors import UserError
from edgekit.types import (
    BackendName,
    Budget,
    InputShape,
    Precision,
    Preprocess,
    QatChoice,
    SaliencyName,
    Sparsity,
)
from edgekit.types.measurements import TIMED_S

if TYPE_CHECKING:
    import torch

    from edgekit.building.pipeline import PipelineStage

__all__ = [
    "DROP_AUTO",
    "LOW_RANK_AUTO",
    "BuildRequest",
    "LowRank",
    "TeacherSpec",
    "TrainOptions",
    "read_blocks",
    "read_features",
    "read_low_rank",
    "read_sparsity",
    "read_teachers",
]

DROP_AUTO = "auto:"
"""Before the number of blocks that edgekit chooses itself."""

HEAVIEST = 1e6
"""The largest weight of a teacher."""

LOW_RANK_AUTO = "auto"
"""In the place of a share or of ranks: edgekit chooses."""

TeacherSpec: TypeAlias = "str | torch.nn.Module"
"""A network that teaches: net.py:factory, which :weights.safetensors may follow, an ONNX file, or a live module."""

LowRank = float | str | tuple[tuple[str, tuple[int, ...]], ...]
"""The share of a layer's output variance that its factors keep, LOW_RANK_AUTO, or layers with their ranks."""


@dataclass(frozen=True)
class TrainOptions:
    """How pruned networks are trained.

    `epochs` is the length of the final fine-tuning (None: 12, or what the time limit affords); each pruning
    step before it trains for `step_epochs`. `temperature` and `alpha` are T and α of the distillation loss.
    `optimizer`, `learning_rate`: see `compress/training/optimizing.py`. `loss` and `step` are Python references
    (`file.py:function`). `outputs`: what they are, a word or one for each with commas between, as "scores,boxes".
    `qat_epochs`: of quantization-aware training (None: 6, or as many as hold 200 batches).
    `saliency`: by which weights become zero where `sparsity` is asked for; `rewind`: the others then begin again.
    """

    epochs: float | None = None
    step_epochs: float = 0.5
    optimizer: Literal["auto", "sgd", "adamw"] = "auto"
    learning_rate: float | None = None
    batch_size: int = 128
    temperature: float = 4.0
    alpha: float = 0.3
    importance: Literal["magnitude", "taylor", "activation"] = "activation"
    step_ratio: float = 0.10
    device: Literal["auto", "cpu", "cuda"] = "auto"
    loss: str | None = None
    step: str | None = None
    qat_epochs: float | None = None
    saliency: SaliencyName = "magnitude"
    rewind: bool = False
    outputs: str = "auto"


@dataclass(frozen=True)
class BuildRequest:
    """One build. `data` is a path, a built-in name, or what `data.from_python` takes: (x, y), a Dataset, a source, ….

    `executor`: where lints, exports and training run, a name of EXECUTORS, or ray://HOST:PORT. `device`: what measures:
    "local", ssh://user@host or a name of devices.toml. `classes`: names in label order, or a text file with one a line.
    `allow_weak_original`: a network that is no better than a guess is built with a warning. `input_shapes`: of inputs
    whose sizes the model leaves open. `weights_prefix` and `weights_key`: see `model.WeightsPart`.
    `timed_s`: timed runs of each candidate; without `repeat` a noisy measurement is told, not made again.
    `drop`: residual blocks, by their modules' names, that a variant of its own goes without; or ("auto:2",). `merge`:
    modules whose convolutions become one in that variant.
    `strict`: a throttled or drifting measurement is a failure, not only marked. `meter`: a command, word by word, that
    prints the board's power in watts. `latency_table`: the file of a table of layers' times, by which widths and blocks
    are chosen, and the layers that INT8 leaves in float, or "auto": it is measured; None: networks are pruned by their
    MACs, and the most sensitive layers stay in float.
    `low_rank`: how layers are factorized in a variant of its own (see LowRank). `student`: another network, a path or a
    live module, that learns from the model as a variant of its own; `student_weights`: what it begins with;
    `student_features`: layers of the model and of the student, whose outputs it learns too, `student_relations`: how
    samples of a batch lie to each other there, `student_attention`: where they look, `student_channels`: where each
    channel does. `teachers`: who teaches in the place of the model, each with a weight above 0. `qat`: when
    networks are trained for the integers of a runtime; see QatChoice. `pipeline`: stages, in order, in the place of
    other methods. `sparsity`: which weights of a variant of its own are zero; None: none has to be.
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
    merge: tuple[str, ...] = ()
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
    low_rank: LowRank | None = None
    student: str | Path | torch.nn.Module | None = None
    student_weights: Path | None = None
    student_features: FeaturePairs = ()
    student_relations: FeaturePairs = ()
    student_attention: FeaturePairs = ()
    student_channels: FeaturePairs = ()
    teachers: tuple[tuple[TeacherSpec, float], ...] = ()
    qat: QatChoice = "auto"
    pipeline: tuple[PipelineStage, ...] = ()
    sparsity: Sparsity | None = None

    @property
    def features(self) -> Features:
        """What the student learns of layers."""
        return Features(
            self.student_features, self.student_relations, self.student_attention, self.student_channels
        )

    @property
    def trains(self) -> bool:
        """Whether any method may train a float network."""
        asked = (self.low_rank, self.student, self.sparsity)
        return self.prune or bool(self.pipeline) or any(what is not None for what in asked)

    def describe_model(self) -> str:
        """How the model was named, for people."""
        return str(self.model) if isinstance(self.model, (str, Path)) else type(self.model).__name__

    def wants(self, names: Sequence[BackendName]) -> tuple[BackendName, ...]:
        """Those of `names` that the user did not exclude."""
        return tuple(name for name in names if self.backends is None or name in self.backends)


def read_blocks(given: str | Iterable[str] | None, option: str = "drop") -> tuple[str, ...]:
    """Blocks, "blocks.3,blocks.7" or a sequence, as `BuildRequest.drop` and `merge`; None is none. Raises UserError."""
    if given is None:
        return ()
    names = given.split(",") if isinstance(given, str) else list(given)
    if not all(isinstance(name, str) and name.strip() for name in names) or (
        isinstance(given, str) and not names
    ):
        auto = ", or auto:2" if option == "drop" else ""
        raise UserError(f"{option} is {given!r}", allowed=f"names of blocks, as blocks.3,blocks.7{auto}")
    return tuple(name.strip() for name in names)


def read_features(given: object, option: str = "student_features") -> FeaturePairs:
    """Layers of model and student, "layer2=blocks.1,layer4=blocks.3" or a dict, as pairs. Raises UserError."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, str):
        pairs = [(theirs.strip(), ours.strip()) for theirs, _, ours in map(_divided, given.split(","))]
    else:
        pairs = []
    if not pairs or not all(isinstance(name, str) and name for pair in pairs for name in pair):
        allowed = "layers of the model and of the student, as layer2=blocks.1,layer4=blocks.3"
        raise UserError(f"{option} is {given!r}", allowed=allowed)
    return tuple(pairs)


def read_teachers(given: Any) -> tuple[tuple[TeacherSpec, float], ...]:
    """Teachers and their weights: "net.py:make_big@0.7", a path, a live module, a dict of them, or several in a list.

    Without a weight one counts 1. Raises UserError for a weight that is none, and for one that is named twice.
    """
    if given is None:
        return ()
    if isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        pairs = [_weighed(item) for item in (given if isinstance(given, (list, tuple)) else (given,))]
    for number, (spec, weight) in enumerate(pairs):
        name = spec if isinstance(spec, str) else type(spec).__name__
        is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not is_number or not 0.0 < weight <= HEAVIEST:
            raise UserError(
                f"the weight of teacher {name:.80} is {weight!r:.40}",
                allowed=f"a number above 0, up to {HEAVIEST:g}, as net.py:make_big@0.7",
            )
        if not isinstance(spec, (str, Path)) and not callable(getattr(spec, "state_dict", None)):
            raise UserError(
                f"a teacher is a {type(spec).__name__}", allowed="net.py:factory, net.onnx, or a live module"
            )
        if any(
            spec is other or (isinstance(spec, (str, Path)) and str(spec) == str(other))
            for other, _ in pairs[:number]
        ):
            raise UserError(
                f"teacher {name:.80} is named twice", remedy="name it once, with the sum of its weights"
            )
    return tuple((str(spec) if isinstance(spec, Path) else spec, float(weight)) for spec, weight in pairs)


def _weighed(given: Any) -> tuple[Any, Any]:
    """A teacher and its weight, 1 where none is said."""
    if isinstance(given, (list, tuple)) and len(given) == 2:
        return given[0], given[1]
    if isinstance(given, str):
        spec, sign, weight = given.rpartition("@")
        try:
            return (spec, float(weight)) if sign else (given, 1.0)
        except ValueError:
            pass  # an @ of the path
    return given, 1.0


def _divided(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def read_low_rank(given: object) -> LowRank | None:
    """Low rank as `BuildRequest.low_rank` has it, from a text (auto, 0.9, fc1=32,conv2=16x16), a number or a dict.

    Ranks are those of a layer's factors: one, or two of Tucker-2. None is none. Raises UserError.
    """
    allowed = "auto, a share of each layer's output variance, as 0.9, or ranks, as fc1=32,conv2=16x16"
    refusal = UserError(f"low_rank is {given!r}", allowed=allowed)
    if given is None or given == LOW_RANK_AUTO:
        return given if given is None else LOW_RANK_AUTO
    if isinstance(given, Mapping):
        pairs = [
            (name, ranks if isinstance(ranks, (list, tuple)) else (ranks,)) for name, ranks in given.items()
        ]
    elif isinstance(given, str) and "=" in given:
        parts = [part.rpartition("=") for part in given.split(",")]
        pairs = [(name.strip(), tuple(ranks.strip().split("x"))) for name, _, ranks in parts]
    else:
        try:
            share = float(given) if not isinstance(given, bool) else 0.0  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise refusal from None
        if not 0.0 < share < 1.0:
            raise refusal
        return share
    read = tuple((name, tuple(map(_rank, ranks))) for name, ranks in pairs)
    names = [name for name, _ in read]
    is_good = all(isinstance(name, str) and name for name in names) and all(
        1 <= len(ranks) <= 2 and all(ranks) for _, ranks in read
    )
    if not read or not is_good or len(set(names)) < len(names):
        raise refusal
    return read


def read_sparsity(given: object) -> Sparsity | None:
    """Sparsity from "2:4", a share of zeros as 0.8 or "80%"; None is none. Raises UserError."""
    if given is None:
        return None
    refusal = UserError(
        f"sparsity is {given!r}",
        allowed="2:4, or the share of weights that is zero, above 0 and below 1, as 0.8",
    )
    if isinstance(given, str) and ":" in given:
        if given.strip() != "2:4":
            raise refusal
        return Sparsity("2:4", 0.5)
    text = given.strip() if isinstance(given, str) else given
    percent = isinstance(text, str) and text.endswith("%")
    try:
        share = float(text.removesuffix("%") if isinstance(text, str) else text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise refusal from None
    share = share / 100 if percent else share
    if isinstance(given, bool) or not 0.0 < share < 1.0:
        raise refusal
    return Sparsity("unstructured", share)


def _rank(given: object) -> int:
    """A whole number from 1 on; 0 for anything else."""
    if isinstance(given, int) and not isinstance(given, bool):
        return max(0, given)
    return int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else 0
