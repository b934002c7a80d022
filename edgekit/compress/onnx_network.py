"""A float ONNX file as a torch module that ONNX Runtime answers for: it teaches, and is never trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[np.generic], ...]

__all__ = ["is_onnx", "onnx_macs", "onnx_network"]

ENTRY_BYTES = 400
"""What keeping one sample's outputs takes beside their numbers."""


class OnnxRunner:
    """A file of one sample's batch, opened when it is first asked. A copy is the runner itself.

    What it gave to a sample is kept by the sample's content, up to `limit_bytes`: alone in its batch a sample has the
    same outputs whichever others are trained on, so each augmented view is
    computed once for all trainings of a process.
    `computed`: samples that were. `path`: the file.
    """

    def __init__(
        self, path: Path, inputs: Sequence[str], outputs: Sequence[str], limit_bytes: int = 128 * 2**20
    ) -> None:
        self.path, self._inputs, self._outputs = path, tuple(inputs), tuple(outputs)
        self._kept: dict[bytes, Arrays] = {}
        self._left_bytes = limit_bytes
        self._session: Any = None
        self.computed = 0

    def __deepcopy__(self, memo: Mapping[int, Any]) -> OnnxRunner:
        return self

    def __call__(self, samples: Sequence[NDArray[np.generic]]) -> Arrays:
        """Inputs [N, ...] in order → outputs [N, ...] in order."""
        rows = [
            self._row([array[place : place + 1] for array in samples]) for place in range(len(samples[0]))
        ]
        return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))

    def _row(self, sample: Sequence[NDArray[np.generic]]) -> Arrays:
        key = hashlib.blake2b(digest_size=16)
        for array in sample:
            key.update(np.ascontiguousarray(array).data)
        known = self._kept.get(key.digest())
        if known is not None:
            return known
        given = self._opened().run(dict(zip(self._inputs, sample, strict=True)))
        row = tuple(np.array(given[name]) for name in self._outputs)
        self.computed += 1
        size_bytes = sum(array.nbytes for array in row) + ENTRY_BYTES
        if size_bytes <= self._left_bytes:
            self._left_bytes -= size_bytes
            self._kept[key.digest()] = row
        return row

    def _opened(self) -> Any:
        if self._session is None:
            import torch

            from edgekit.graph.running import open_file

            self._session = open_file(self.path, torch.get_num_threads())
        return self._session


def onnx_network(path: Path, digest: str, inputs: Sequence[str], outputs: Sequence[str]) -> torch.nn.Module:
    """The file at `path`, which takes one sample, as a module of as many as there are; without gradients.

    It takes tensors in the order of `inputs`, and gives one, or a tuple in the order of `outputs`. `digest`: of the
    file, which says whether kept outputs are its own.
    """
    network: torch.nn.Module = _network_class()(OnnxRunner(path, inputs, outputs), digest)
    return network.eval()


def is_onnx(module: torch.nn.Module) -> bool:
    """Whether it is one of these."""
    return isinstance(module, _network_class())


def onnx_macs(module: Any) -> int:
    """Multiplications of one sample in a module of these."""
    from edgekit.graph import onnx_cost

    return onnx_cost(module.runner.path).macs


@cache
def _network_class() -> Any:
    import torch

    class OnnxNetwork(torch.nn.Module):
        """Asks a runner. Has no parameters, and no layers to look at."""

        def __init__(self, runner: OnnxRunner, digest: str) -> None:
            super().__init__()
            self.runner, self.digest = runner, digest

        def extra_repr(self) -> str:
            """What the outputs depend on."""
            return self.digest

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            arrays = self.runner([tensor.detach().cpu().contiguous().numpy() for tensor in inputs])
            outputs = tuple(torch.from_numpy(array).to(inputs[0].device) for array in arrays)
            return outputs[0] if len(outputs) == 1 else outputs

    return OnnxNetwork
