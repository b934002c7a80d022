"""How far outputs have moved from the original's.

Class scores: Kullback and Leibler's divergence of the moved softmax from the original's, in nats per sample.
Probabilities are taken as they are. Other outputs: mean squared error divided by the variance of the original's output
over all samples. Of several outputs the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.compress.base import forward_outputs
from edgekit.compress.training.kinds import OutputKind, as_logits, output_kind
from edgekit.errors import StageError

if TYPE_CHECKING:
    import torch

__all__ = ["OriginalOutputs"]

UNUSABLE = 1e9
"""The divergence of outputs that are not finite: a number that JSON and a solver can hold."""


class OriginalOutputs:
    """The original's outputs on some samples, to compare other networks with."""

    def __init__(self, module: torch.nn.Module, batches: Sequence[tuple[torch.Tensor, ...]]) -> None:
        """`batches`: inputs, each [N, ...]. Raises StageError where the original's outputs are not finite."""
        import torch

        self._batches = batches
        parts = [tuple(out.float() for out in outputs) for outputs in _outputs(module, batches)]
        whole = [torch.cat([part[index] for part in parts]) for index in range(len(parts[0]))]
        if not all(bool(out.isfinite().all()) for out in whole):
            raise StageError("sensitivity", "the network's outputs are not finite")
        self._kinds: list[OutputKind] = [output_kind(out) for out in whole]
        self._spreads = [float(out.var(unbiased=False)) + 1e-12 for out in whole]
        self._parts = parts

    @property
    def samples(self) -> int:
        """How many are compared."""
        return sum(len(batch[0]) for batch in self._batches)

    def divergence(self, module: torch.nn.Module) -> float:
        """Of another network from the original; 1e9 where it gives anything that is not finite."""
        total = 0.0
        for outputs, wanted in zip(_outputs(module, self._batches), self._parts, strict=True):
            if not all(bool(out.isfinite().all()) for out in outputs):
                return UNUSABLE
            apart = [
                self._apart(out.float(), original, kind, spread)
                for out, original, kind, spread in zip(
                    outputs, wanted, self._kinds, self._spreads, strict=True
                )
            ]
            total += len(wanted[0]) * sum(apart) / len(apart)
        return total / self.samples

    @staticmethod
    def _apart(moved: torch.Tensor, original: torch.Tensor, kind: OutputKind, spread: float) -> float:
        """The mean over one batch."""
        import torch

        if kind == "values":
            return float((moved - original).square().mean()) / spread
        moved_log, original_log = (as_logits(out, kind).log_softmax(1) for out in (moved, original))
        apart = torch.nn.functional.kl_div(moved_log, original_log, reduction="batchmean", log_target=True)
        return max(0.0, float(apart))


def _outputs(
    module: torch.nn.Module, batches: Sequence[tuple[torch.Tensor, ...]]
) -> Iterator[tuple[torch.Tensor, ...]]:
    import torch

    for batch in batches:
        with torch.no_grad():
            yield forward_outputs(module.eval(), batch)
