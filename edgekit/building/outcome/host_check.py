"""The best artifact answers the same samples on this machine as on the board: where they part is shown."""

from __future__ import annotations

from dataclasses import replace

from edgekit.building.measuring import Bench, Evaluator
from edgekit.building.samples import SplitFiles
from edgekit.building.setup import Setting
from edgekit.building.values import Outcome
from edgekit.devices import DEFAULT_DEVICE, make_device
from edgekit.errors import StageError
from edgekit.measure import agreement_of
from edgekit.progress import Reporter
from edgekit.types import Agreement

__all__ = ["host_agreement"]


def host_agreement(
    setting: Setting, outcome: Outcome, evaluator: Evaluator, samples: SplitFiles, reporter: Reporter
) -> Agreement | None:
    """Of the winner, or the nearest. None where this machine is what measured, and where it cannot run the artifact."""
    attempt = outcome.attempt(outcome.choice.winner or outcome.choice.nearest)
    if setting.device.is_here or attempt is None:
        return None
    device = make_device(DEFAULT_DEVICE, setting.store.workspace("host"))
    here = replace(evaluator, bench=Bench(device, device.describe(), setting.request.threads, "host"))
    with reporter.step("Comparing the board's answers with this machine's"):
        try:
            return agreement_of(
                evaluator.outputs(attempt.artifact, samples), here.outputs(attempt.artifact, samples)
            )
        except (
            StageError,
            ValueError,
        ) as problem:  # ValueError: it names or shapes its outputs otherwise here
            reporter.say(f"this machine cannot answer for comparison: {problem}")
            return None
