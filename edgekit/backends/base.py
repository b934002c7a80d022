"""The seam of runtimes: what every backend offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.graph import CalibrationData
    from edgekit.hardware import Target
    from edgekit.quantize import Memo, PrecisionTimes, QuantPlan, Recipe
    from edgekit.types import (
        Artifact,
        Audit,
        BackendName,
        Candidate,
        Examination,
        LayerPart,
        LayerRow,
        LayerTime,
        Variant,
    )

__all__ = ["Backend", "ExportRequest", "Session"]


@dataclass(frozen=True)
class ExportRequest:
    """Everything an export may depend on. `folder` exists, is empty, and belongs to this export alone.

    `features` are the CPU features of the board (e.g. {"avx2", "avx512_vnni"}); they decide signedness.
    `memo` keeps what its quantization plan takes long to measure; None: nothing is kept. `times`: of its layers in
    float and in int8 on the board, where they are known.
    """

    variant: Variant
    candidate: Candidate
    target: Target
    features: frozenset[str]
    folder: Path
    recipe: Recipe | None = None
    calibration: CalibrationData | None = None
    threads: int = 1
    memo: Memo | None = None
    times: PrecisionTimes | None = None


class Session(Protocol):
    """An opened artifact."""

    def __enter__(self) -> Session: ...

    def __exit__(self, *exc: object) -> None: ...

    @property
    def signature(self) -> Mapping[str, Any]:
        """The keys inputs and outputs, as the runner has them: name, dtype and shape each; a free dimension is None."""

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Input name → array; gives output name → array."""


class Backend(Protocol):
    """One runtime. Stateless; imports its runtime inside its methods only."""

    @property
    def name(self) -> BackendName: ...

    @property
    def extra(self) -> str:
        """The extra that installs it: `pip install "edgekit[EXTRA]"`."""

    def versions(self) -> dict[str, str]:
        """Package → version of what is installed, read from package metadata, without importing the runtime.

        Raises MissingExtraError when something needed is absent.
        """

    def lint(self, variant: Variant, target: Target) -> Examination:
        """What this runtime on this target cannot take, before any work is done."""

    def plan(self, request: ExportRequest) -> QuantPlan:
        """What becomes INT8 and how, for an INT8 request. Raises StageError for a key of the recipe that it cannot
        honour, without recipe and samples, and when the network cannot be measured."""

    def export(self, request: ExportRequest) -> Artifact:
        """Write the artifact into `request.folder`. Raises StageError when this candidate cannot be made."""

    def open(self, artifact: Artifact, threads: int = 1) -> Session:
        """Load the artifact in this process, with the very code the runner uses on the board."""

    def on_host(self, artifact: Artifact) -> Artifact:
        """The same graph as a runtime of this machine executes it: what accuracy without the board is measured on.

        The artifact itself where its runtime runs here. The other's files lie in the same folder, and its
        `candidate` is the artifact's.
        """

    def audit(self, artifact: Artifact, threads: int = 1) -> Audit:
        """What each layer really runs as."""

    def layer_parts(
        self, artifact: Artifact, feeds: Mapping[str, NDArray[np.generic]], folder: Path
    ) -> tuple[LayerPart, ...]:
        """What a board times in the place of the layers of a runtime that has no profiler: files in `folder`.

        Empty for a runtime that has one. Raises StageError when the artifact cannot be opened.
        """

    def read_layers(self, artifact: Artifact, rows: Sequence[LayerRow]) -> tuple[LayerTime, ...]:
        """What a board's runtime told of the layers, under the network's names, in execution order.

        `rows` are those of the parts, in their order, where there are parts.
        """
