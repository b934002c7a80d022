"""Which layers a step costs most at: two artifacts compared layer by layer, in a process of its own.

`main` reads one task on standard input and answers with the layers, both as JSON: a runtime that dies there costs
the explanation, not the build.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgekit.errors import StageError, UserError
from edgekit.result import BlamedLayer
from edgekit.types import Artifact

if TYPE_CHECKING:
    from edgekit.building.context import Samples, Workshop
    from edgekit.compare import Comparison

__all__ = ["blamed_layers"]

SAMPLES = 64  # SQNR settles within a few
LAYERS = 3
OWN_DB = 1.0  # what a layer has to lose against its inputs to be blamed itself
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class BlameTask:
    """Two artifacts, and .npy files of samples [N, ...] in the order of A's inputs."""

    a: Artifact
    b: Artifact
    inputs: tuple[str, ...]
    threads: int


def blamed_layers(
    shop: Workshop, before: Artifact, after: Artifact, samples: Samples
) -> tuple[BlamedLayer, ...]:
    """The layers where `after` loses most against `before`, the worst first; none where the two cannot be compared."""
    task = BlameTask(
        before,
        after,
        tuple(str(path) for path in samples.files.inputs.values()),
        shop.setting.request.threads,
    )

    def make(_folder: Path) -> Mapping[str, Any]:
        with shop.reporter.step("Looking for the layers to blame"):
            return {"layers": msgspec.to_builtins(ask(task))}

    parts = {**shop.identity([before, after]), "samples": samples.digest, "count": SAMPLES}
    try:
        entry = shop.cached("blame", parts, make)
    except StageError:
        return ()
    return msgspec.convert(entry.meta["layers"], tuple[BlamedLayer, ...])


def ask(task: BlameTask) -> tuple[BlamedLayer, ...]:
    """Raises StageError when the process fails, dies or takes too long."""
    command = [sys.executable, "-c", "from edgekit.building.outcome.layer_losses import main; main()"]
    try:
        done = subprocess.run(
            command, input=msgspec.json.encode(task), capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StageError("blame", f"no answer within {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise StageError("blame", lines[-1] if lines else f"exit code {done.returncode}")
    return msgspec.json.decode(done.stdout, type=tuple[BlamedLayer, ...])


def main() -> None:
    """The child's end."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=BlameTask)
    try:
        layers = compared(task)
    except (UserError, StageError) as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(msgspec.json.encode(layers))


def compared(task: BlameTask) -> tuple[BlamedLayer, ...]:
    """The comparison itself, in this process."""
    import numpy as np

    from edgekit.compare import CompareSamples, compare_artifacts

    arrays = tuple(np.load(path, mmap_mode="r", allow_pickle=False)[:SAMPLES] for path in task.inputs)
    samples = CompareSamples(lambda: iter([(arrays, None)]), len(arrays[0]), "validation samples")
    return culprits(compare_artifacts(task.a, task.b, samples, threads=task.threads))


def culprits(found: Comparison) -> tuple[BlamedLayer, ...]:
    """The lowest SQNRs that do not merely come with a layer's inputs."""
    own = [
        layer
        for layer in found.worst()
        if layer.op != "input"
        and (layer.inputs_db is None or layer.difference.sqnr_db < layer.inputs_db - OWN_DB)
    ]
    return tuple(
        BlamedLayer(layer.name, layer.difference.sqnr_db, layer.inputs_db, next(iter(layer.hints), ""))
        for layer in own[:LAYERS]
    )
