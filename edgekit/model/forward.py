"""A torch network as it runs: what it answers, and whether it answers the same to the same input."""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
import traceback
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import ModelError
from edgekit.graph.equivalence import REPEATED, difference
from edgekit.model.seeding import seeded
from edgekit.model.state import state_parts
from edgekit.quiet import quiet
from edgekit.reference import UserCode

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

__all__ = ["Arrays", "flat", "refuse_unrepeatable", "run_torch"]

Arrays = tuple["NDArray[np.generic]", ...]
"""One array [1, ...] per input, or per output."""

STATE_AXES = 3
"""[layers, N, H]: of a recurrent layer's state."""

MOST_CHANNELS = 4
"""Of stored samples: grey to RGBA. A last axis no longer than it is likely the channels'."""


def run_torch(network: torch.nn.Module, inputs: Arrays) -> Arrays:
    """What the network gives, as arrays. Raises ModelError for what its forward() raises."""
    import torch

    outputs = _call(network, inputs)
    tensors = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
    return tuple(tensor.detach().cpu().numpy() for tensor in tensors)


def flat(module: torch.nn.Module, inputs: Arrays) -> torch.nn.Module:
    """The network on the CPU, in eval mode, wrapped if it gives anything but one tensor or a flat tuple.

    The caller's module stays as it was: a copy is made where something has to change.
    """
    import torch
    from torch.utils import _pytree

    on_cpu = all(tensor.device.type == "cpu" for tensor in (*module.parameters(), *module.buffers()))
    if module.training or not on_cpu:
        module = copy.deepcopy(module).cpu().eval()
    if isinstance(_call(module, inputs), torch.Tensor):
        return module

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.given = module
            self.training = False

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            leaves = _pytree.tree_leaves(self.given(*inputs))
            tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))
            if not tensors:
                raise TypeError("the network gives no tensor")
            return tensors

    return Flat()


def refuse_unrepeatable(network: torch.nn.Module, inputs: Arrays, others: Arrays) -> None:
    """Raises ModelError for a network that answers an input in two ways: random in eval mode, or with a memory.

    Its accuracy would be another at each run, and a file can hold one of its answers only. `others` is an input of
    another content that is put between; it need not suit the network.
    """
    first = _seeded_run(network, inputs, 0)
    with contextlib.suppress(ModelError):
        _seeded_run(network, others, 0)
    again = _seeded_run(network, inputs, 0)
    reason = difference(first, again, tolerance=REPEATED)
    if reason:
        changed = _changed_by_calls(network, inputs, others)
        where = f"{_listed(changed)} {'change' if len(changed) > 1 else 'changes'} with its calls"
        raise ModelError(
            "the network keeps state between calls: between two calls with the same sample its answer changes "
            f"({reason}){'; ' + where if changed else ''}",
            remedy="give the state as an input and an output, or reset it at the start of forward()",
        )
    reason = difference(again, _seeded_run(network, inputs, 1), tolerance=REPEATED)
    if reason:
        places = _random_places(network, inputs)
        raise ModelError(
            "the network is random in eval mode: two calls with the same sample answer differently "
            f"({reason}){'; drawn by ' + _listed(places) if places else ''}",
            remedy="dropout wants training=self.training (or nn.Dropout); other random numbers come in as an input",
        )


def _call(network: torch.nn.Module, inputs: Arrays) -> Any:
    import torch

    try:
        with UserCode("the network's forward()", ModelError), torch.no_grad(), quiet():
            return network(*(torch.from_numpy(array.copy()) for array in inputs))
    except ModelError as problem:
        told = _of_two_kinds(network, inputs, problem) or _of_states(network, inputs)
        raise told or ModelError(str(problem), remedy=_given(str(problem), inputs)) from problem.__cause__


def _given(told: str, inputs: Arrays) -> str:
    """What forward() was given, and what to try where torch's words tell of a layout or an axis."""
    shapes = " and ".join(f"{array.dtype} {list(array.shape)}" for array in inputs)
    return "; ".join((f"it was given {shapes}", *_axes_hint(told, inputs)))


def _axes_hint(told: str, inputs: Arrays) -> tuple[str, ...]:
    shape = inputs[0].shape if len(inputs) == 1 else ()
    axes = re.search(r"expected (\d)D.*got (\d)D", told)
    if shape and axes and int(axes[1]) == int(axes[2]) + 1:
        return ("if the samples lack their channel axis, store x[:, None]",)
    if len(shape) == 4 and "channels" in told and shape[3] <= MOST_CHANNELS < shape[1]:
        return ("if the samples are stored with channels last, add --input-layout nhwc",)
    return ()


def _of_two_kinds(network: torch.nn.Module, inputs: Arrays, problem: ModelError) -> ModelError | None:
    """`problem` with what may mend it where weights and samples are numbers of two kinds; None: they are not.

    Only asked after a failure: a network may cast its inputs itself.
    """
    weights = sorted({str(tensor.dtype)[6:] for tensor in network.parameters() if tensor.is_floating_point()})
    samples = sorted({str(array.dtype) for array in inputs})
    kinds = [kind for kind in samples if kind.startswith("float")] or [
        kind for kind in samples if kind in ("uint8", "bool")
    ]
    if not weights or not kinds or weights == kinds:
        return None
    if weights != ["float32"]:
        remedy = (
            "give it in float32, as network.float(): what the board takes in fewer bits is tried from there"
        )
    elif kinds[0].startswith("float"):
        remedy = "give the samples as float32, as x.astype(numpy.float32)"
    else:
        remedy = "give them as float32, or have them scaled, as --scale 255"
    return ModelError(
        f"{problem}; the weights are {', '.join(weights)}, the samples {', '.join(kinds)}",
        remedy=remedy,
    )


def _of_states(network: torch.nn.Module, inputs: Arrays) -> ModelError | None:
    """What mends it where inputs are the state of recurrent layers, which torch wants as [layers, N, H]; else None.

    By trial: the network runs with those inputs turned that came as samples of such a state, [1, layers, H].
    """
    from torch import nn

    if len(inputs) < 2 or not any(isinstance(part, nn.RNNBase) for part in network.modules()):
        return None
    places = [place for place, array in enumerate(inputs) if array.ndim == STATE_AXES and array.shape[1] > 1]
    for chosen in (chosen for size in range(1, len(places) + 1) for chosen in combinations(places, size)):
        turned = tuple(
            np.ascontiguousarray(array.swapaxes(0, 1)) if place in chosen else array
            for place, array in enumerate(inputs)
        )
        if _runs(network, turned):
            break
    else:
        return None
    names = [_input_name(network, place) for place in chosen]
    shapes = ", ".join(
        f"{name!r} came as {list(inputs[place].shape)}, and the network takes {list(turned[place].shape)}"
        for name, place in zip(names, chosen, strict=True)
    )
    lines = "; ".join(f"{name} = {name}.transpose(0, 1).contiguous()" for name in names)
    return ModelError(
        f"the network takes the state of recurrent layers with its samples along axis 1: input {shapes}",
        allowed="inputs with their samples along the first axis, [N, layers, H]",
        remedy=f"begin forward() with {lines}, and give back a state likewise",
    )


def _runs(network: torch.nn.Module, inputs: Arrays) -> bool:
    import torch

    try:
        with UserCode("the network's forward()", ModelError), torch.no_grad(), quiet():
            network(*(torch.from_numpy(array.copy()) for array in inputs))
    except ModelError:
        return False
    return True


def _input_name(network: torch.nn.Module, place: int) -> str:
    """What forward() calls its input, or its number where it has no name of its own."""
    named = [
        parameter.name
        for parameter in inspect.signature(network.forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return named[place] if place < len(named) else f"input_{place}"


def _seeded_run(network: torch.nn.Module, inputs: Arrays, seed: int) -> Arrays:
    with seeded(seed):
        return run_torch(network, inputs)


def _changed_by_calls(network: torch.nn.Module, inputs: Arrays, others: Arrays) -> list[str]:
    """Parameters, buffers and attributes that calls change."""
    changed: set[str] = set()
    before = state_parts(network)
    for arrays in (others, inputs):
        with contextlib.suppress(ModelError):
            _seeded_run(network, arrays, 0)
        after = state_parts(network)
        changed |= {name for name in {**before, **after} if before.get(name) != after.get(name)}
        before = after
    return sorted(changed)


def _random_places(network: torch.nn.Module, inputs: Arrays) -> list[str]:
    """Operators that draw random numbers, with the line of the user's code that calls them."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    places: dict[str, None] = {}

    def note(mode: object, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in operator.tags:
            places[f"{operator.overloadpacket} at {_users_line()}"] = None
        return operator(*args, **(kwargs or {}))

    watch: Any = type("Watch", (TorchDispatchMode,), {"__torch_dispatch__": note})
    with watch():
        _seeded_run(network, inputs, 0)
    return list(places)


def _users_line() -> str:
    """`net.py:12`: the innermost line that is neither torch's nor ours."""
    import torch

    ours = (str(Path(torch.__file__).parent), str(Path(__file__).resolve().parents[1]), "<")
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(ours)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "torch itself"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
