"""What a build hands back: the typed form of `result.json`, schema version 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import OutputError, UserError
from edgekit.files import atomic_path, check_own_file, is_full
from edgekit.summary import as_html, as_rows, as_text, plain
from edgekit.types import (
    Agreement,
    BackendName,
    Budget,
    Energy,
    Environment,
    Failure,
    Origin,
    Percentile,
    PlanningResult,
    Precision,
    Preprocess,
    QuantizationSummary,
    Rejection,
    Steadiness,
    VariantKind,
    Verdict,
)

__all__ = [
    "NOTED_HERE",
    "SCHEMA_VERSION",
    "AccuracyResult",
    "CandidateResult",
    "LatencyResult",
    "LayerLoss",
    "Result",
    "RunInfo",
    "TargetInfo",
    "TrainedStep",
    "VariantResult",
    "WaterfallStage",
    "WaterfallStep",
    "json_schema",
    "load_result",
    "located",
    "save_result",
    "saving_result",
]

SCHEMA_VERSION = 1

NOTED_HERE = "On this machine, not the board: "
"""Begins each note of a runtime that ran here while the latency is a board's, estimated."""

WaterfallStage = Literal[
    "original", "distilled", "pruned", "factorized", "fine-tuned", "sparsified", "exported", "quantized", "runtime"
]  # fmt: skip


@dataclass(frozen=True)
class LatencyResult:
    """Milliseconds at batch 1. `low` and `high` bound the budget's percentile (95 % interval).

    Of origin `estimated` all three percentiles are the likely value, and `low` and `high` the range of the estimate.

    `turns`, `preemptions` and `steadiness` as in `types.Latency`.
    """

    p50: float
    p90: float
    p99: float
    low: float
    high: float
    percentile: Percentile
    steady: bool
    rounds_ms: tuple[tuple[float, ...], ...] = ()
    turns: tuple[int, ...] = ()
    preemptions: int | None = None
    steadiness: Steadiness | None = None


@dataclass(frozen=True)
class AccuracyResult:
    """Fractions with 95 % intervals; positive paired `drop`s are worse. `drop_bound` as in `types.Accuracy`.

    `worst_part`: without labels, the channel or column of the outputs of which least is kept.
    """

    metric: str
    split: str
    samples: int
    value: float
    low: float
    high: float
    drop: float
    drop_low: float
    drop_high: float
    worst_part: str = ""
    drop_bound: float | None = None


@dataclass(frozen=True)
class CandidateResult:
    """One measured candidate. `why` says why it won or lost; `ran_as` is the precision its layers ran in.

    `quantization` is what an INT8 build decided. `digest`: of the artifact, the same wherever the same files were made.
    `energy`: None where it was not asked for or the board does not tell. `available_bytes`: memory that the machine had
    free before.
    """

    id: str
    backend: BackendName
    precision: Precision
    variant: str
    recipe: str
    ran_as: str
    latency_ms: LatencyResult | None
    accuracy: AccuracyResult | None
    size_bytes: int
    peak_memory_bytes: int
    load_ms: float
    origin: Origin
    artifact: str
    why: str
    frontier: bool = False
    notes: tuple[str, ...] = ()
    quantization: QuantizationSummary | None = None
    import_ms: float | None = None
    digest: str = ""
    energy: Energy | None = None
    available_bytes: int | None = None


@dataclass(frozen=True)
class TrainedStep:
    """One pruning step with its short training, or the final training; `fraction` of the original's MACs.

    `accuracy` is that of the torch network on the validation split. A step that was taken back is not `accepted`.
    """

    kind: Literal["step", "final"]
    fraction: float
    accuracy: float
    accepted: bool


@dataclass(frozen=True)
class VariantResult:
    """One float network and how it was made; `history` is one line per pruning or training step."""

    id: str
    kind: VariantKind
    parent: str | None
    description: str
    macs: int
    parameters: int
    history: tuple[str, ...] = ()
    steps: tuple[TrainedStep, ...] = ()


@dataclass(frozen=True)
class LayerLoss:
    """A layer that a step of the waterfall costs most at: SQNR of its output against the network before the step.

    `inputs_db` is the lowest SQNR among its inputs (None: it reads the network's input); `hint` says what to try.
    """

    layer: str
    sqnr_db: float
    inputs_db: float | None
    hint: str = ""


@dataclass(frozen=True)
class WaterfallStep:
    """Accuracy after one step from the user's network to the artifact, on the validation split.

    `change` from the step before is a fraction, negative where accuracy was lost; `low` and `high` bound it where
    both were measured on the same samples (95 %, paired). `note` says what the step was measured with.
    """

    stage: WaterfallStage
    accuracy: float
    change: float
    low: float | None = None
    high: float | None = None
    layers: tuple[LayerLoss, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class TargetInfo:
    """The board, as its description names it. `likeness`: that the machine only fits the description, if so."""

    name: str
    title: str
    likeness: str = ""


@dataclass(frozen=True)
class RunInfo:
    """How the run came about: enough to repeat it. `out`: the folder that the build wrote to, as it was given."""

    id: str
    edgekit: str
    command: str
    started: str
    duration_s: float
    seed: int
    model: str
    model_digest: str
    data: str
    data_digest: str
    preprocess: Preprocess
    split_sizes: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    out: str = field(default="", compare=False)


@dataclass(frozen=True, repr=False)
class Result:
    """The whole answer of `edgekit build`. `claim`: accuracy on the test split of the winner (or the nearest).

    `established`: whether the drop's whole interval there lies under the limit, or its value alone (docs/claim.md).
    `confirmed`: latency of a run on its own, which the verdict rests on. `waterfall`: from the original to the
    artifact. `agreement`: whether a board over SSH answers as this machine does, on the validation split.
    `settled_in`: of a build whose bundle was settled afterwards, the folder in it that holds the winner or the nearest.
    `planning`: the plans of a build that followed a table of layers' times.
    """

    schema: int
    verdict: Verdict
    explanation: str
    target: TargetInfo
    budget: Budget
    winner: str | None
    nearest: str | None
    claim: AccuracyResult | None
    candidates: tuple[CandidateResult, ...]
    variants: tuple[VariantResult, ...]
    rejected: tuple[Rejection, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]
    environment: Environment
    run: RunInfo
    waterfall: tuple[WaterfallStep, ...] = ()
    established: bool | None = None
    confirmed: LatencyResult | None = None
    agreement: Agreement | None = None
    settled_in: str = ""
    planning: PlanningResult | None = None

    @property
    def bundle(self) -> Path | None:
        """The bundle's folder; None where the build made none, or where it is not there any more."""
        folder = Path(self.run.out) / "bundle"
        return folder if self.run.out and folder.is_dir() else None

    def table(self) -> Any:
        """Every measured candidate as a row: a pandas DataFrame, or a list of dicts where pandas is not installed."""
        rows = as_rows(self)
        if find_spec("pandas") is None:
            return rows
        import pandas

        return pandas.DataFrame(rows)

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `result.json`, as `docs/result.schema.json` has it."""
    import msgspec

    schema: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Result)))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def save_result(result: Result, path: Path) -> None:
    """Write `result.json` atomically; raises as `saving_result` does."""
    with saving_result(result, path):
        pass


@contextmanager
def saving_result(result: Result, path: Path) -> Iterator[None]:
    """`result.json` takes its place when the block ends well: what belongs to it is written inside.

    Raises OutputError when it cannot be written or is another's file, ValueError for a number that JSON does not have
    (NaN).
    """
    import msgspec

    content = msgspec.json.format(msgspec.json.encode(plain(result)), indent=1)
    try:
        msgspec.json.decode(content, type=Result)
    except msgspec.ValidationError as error:
        raise ValueError(f"the result would not read back: {error}") from error
    check_own_file(path)
    try:
        with atomic_path(path) as draft:
            Path(draft).write_bytes(content + b"\n")
            yield
    except OSError as error:
        remedy = "free some space, or give another --out" if is_full(error) else "give another --out"
        raise OutputError(f"{path} cannot be written: {error.strerror}", remedy=remedy) from error


def load_result(path: str | Path) -> Result:
    """Read `result.json`, or that of a build's output folder; `run.out` is where it lies.

    Raises UserError when it is missing, damaged, or of another schema version.
    """
    import msgspec

    path = Path(path) / "result.json" if Path(path).is_dir() else Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", remedy="give the folder of a finished build") from error
    try:
        head: Any = msgspec.json.decode(content, type=msgspec.defstruct("Head", [("schema", int)]))
        result = msgspec.json.decode(content, type=Result) if head.schema == SCHEMA_VERSION else None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not an edgekit result: {error}", allowed=f"schema {SCHEMA_VERSION}"
        ) from error
    if result is None:
        raise UserError(
            f"{path} has schema {head.schema}",
            allowed=f"schema {SCHEMA_VERSION}",
            remedy="use the edgekit that made it, or build again",
        )
    return located(result, path.parent)


def located(result: Result, folder: Path) -> Result:
    """The result with the folder in which its files lie now."""
    return replace(result, run=replace(result.run, out=str(folder.absolute())))
