"""A teacher's outputs computed once for all students that train on the same batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgekit.compress.base import forward_outputs

if TYPE_CHECKING:
    import torch

__all__ = ["GuideFunction", "TeacherOutputs", "guiding"]

GuideFunction = Callable[[tuple["torch.Tensor", ...]], tuple["torch.Tensor", ...]]
"""Input tensors → the teacher's output tensors, without gradients."""


class TeacherOutputs:
    """Outputs of a teacher by the content of the batch, in memory, up to `limit_bytes` of them.

    Students that train with one seed, batch size, augmentation and data see the same batches. Outputs are kept as they
    are, so a training ends with the same weights as without, bit for bit. What no longer fits is computed again. On the
    CPU alone: elsewhere the batch would have to come back to be recognised. `reused`: batches not computed so far.
    """

    def __init__(self, limit_bytes: int = 256 * 2**20) -> None:
        self._kept: dict[bytes, tuple[torch.Tensor, ...]] = {}
        self._left_bytes = limit_bytes
        self.reused = 0

    def of(self, teacher: torch.nn.Module) -> GuideFunction:
        """The teacher, or what it gave before to the same batch.

        Its weights and structure are in the key. What else its outputs depend on, code or random numbers, is not: the
        first batch is always computed, and if it was known and differs, nothing that was kept is used.
        """
        compute, own = guiding(teacher), _digest(teacher)
        is_first, is_same = True, True

        def outputs(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            nonlocal is_first, is_same
            if not is_same or any(tensor.device.type != "cpu" for tensor in inputs):
                return compute(inputs)
            key = _key(own, inputs)
            known = self._kept.get(key)
            if known is not None and not is_first:
                self.reused += 1
                return known
            given = compute(inputs)
            is_first = False
            if known is None:
                self._keep(key, given)
            else:
                is_same = _equal(known, given)
            return given

        return outputs

    def _keep(self, key: bytes, given: tuple[torch.Tensor, ...]) -> None:
        size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in given)
        if size_bytes <= self._left_bytes:
            self._left_bytes -= size_bytes
            self._kept[key] = tuple(tensor.clone() for tensor in given)


def guiding(teacher: torch.nn.Module) -> GuideFunction:
    """The teacher alone."""
    import torch

    def outputs(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return forward_outputs(teacher, inputs)

    return outputs


def _digest(teacher: torch.nn.Module) -> bytes:
    state = hashlib.blake2b(str(teacher).encode())
    for name, tensor in teacher.state_dict().items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(_bytes(tensor))
    return state.digest()


def _key(own: bytes, inputs: Sequence[torch.Tensor]) -> bytes:
    """Of the batch, and of what decides how sums are rounded: layout, arithmetic, threads."""
    import torch

    arithmetic = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.get_num_threads()
    state = hashlib.blake2b(own + repr(arithmetic).encode())
    for tensor in inputs:
        state.update(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}".encode())
        state.update(_bytes(tensor))
    return state.digest()


def _bytes(tensor: torch.Tensor) -> memoryview:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _equal(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    import torch

    return len(first) == len(second) and all(map(torch.equal, first, second))
