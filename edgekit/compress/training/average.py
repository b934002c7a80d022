"""The average of a network's weights over the steps of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["Average"]


class Average:
    """An exponential moving average of all floating-point weights and buffers; `tensors`: name → average.

    After step t it moves by 1 - min(decay, (1 + t) / (10 + t)), so that the weights of before the training do not weigh
    on a short one (as tf.train.ExponentialMovingAverage does with num_updates).
    """

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self.tensors = {name: tensor.clone() for name, tensor in _floats(module).items()}

    def update(self, module: torch.nn.Module, step: int) -> None:
        """Take in the weights after step number `step`, counted from 1."""
        import torch

        share = 1.0 - min(self._decay, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            for name, tensor in _floats(module).items():
                self.tensors[name].lerp_(tensor, share)

    def put_into(self, module: torch.nn.Module) -> None:
        """The averages in the place of the weights; whole numbers stay."""
        module.load_state_dict({**module.state_dict(), **self.tensors})


def _floats(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: tensor.detach() for name, tensor in module.state_dict().items() if tensor.is_floating_point()
    }
