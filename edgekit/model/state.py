"""What a live network is made of, part by part, as digests: two networks with equal ones compute the same.

Files that a factory reads, random numbers it draws and environment variables it obeys all end up here, whichever
library read them: safetensors opens its files in Rust, where no audit hook of Python's sees it.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.errors import ModelError
from edgekit.model.functions import feed_callable

if TYPE_CHECKING:
    import torch

__all__ = ["combined", "function_digest", "not_finite", "state_digest", "state_parts"]

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
PLAIN = (bool, int, float, complex, str, bytes, type(None))


def state_digest(module: torch.nn.Module) -> str:
    """SHA-256 over all of `state_parts`. Raises ModelError."""
    return combined(state_parts(module))


def function_digest(function: Callable[..., object]) -> str:
    """SHA-256 over a live function's code and all data that it depends on; not over open files, locks and the like."""
    return _hashed(function)


def combined(parts: Mapping[str, str]) -> str:
    """One SHA-256 over parts by name, in whatever order they come."""
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        digest.update(f"{name}\0{part}\0".encode())
    return digest.hexdigest()


def state_parts(module: torch.nn.Module, above: tuple[int, ...] = ()) -> dict[str, str]:
    """SHA-256 by part: the structure, each class's source, each parameter, buffer and attribute.

    Buffers that are not saved count too, and so do tensors, arrays, numbers and texts that modules keep as plain
    attributes, and functions and other objects as far as they are data. `above`: what holds the module, by id. Raises
    ModelError for lazy parameters, whose values are not decided yet.
    """
    import torch

    above = (*above, *(id(part) for part in module.modules()))  # a method of its own is no second copy
    parts = {"the structure": _hashed(ADDRESS.sub("", str(module)))}
    for kind in {type(part) for part in module.modules()}:
        if not kind.__module__.startswith("torch."):
            parts[f"{kind.__module__}.{kind.__qualname__}"] = _hashed(_source(kind))
    own = frozenset(vars(torch.nn.Module()))
    for place, part in module.named_modules():
        tensors = {**part._parameters, **part._buffers}
        attributes = {
            name: value
            for name, value in vars(part).items()
            if name not in own and not _is_computed(name, value, tensors)
        }
        for name, value in {**attributes, **tensors}.items():
            path = f"{place}.{name}" if place else name
            if torch.nn.parameter.is_lazy(value):
                raise ModelError(
                    f"{path} has no values yet (a lazy module)", remedy="run the network once in the factory"
                )
            parts[path] = _hashed(value, above)
    return parts


def _is_computed(name: str, value: object, tensors: Mapping[str, object]) -> bool:
    """Whether an attribute is made anew from parameters by each forward: it holds what they were before loading.

    Weight norm (NAME_g, NAME_v), spectral norm and torch.nn.utils.prune (NAME_orig) in their form as hooks.
    """
    import torch

    makers = ({f"{name}_g", f"{name}_v"}, {f"{name}_orig"})
    return isinstance(value, torch.Tensor) and any(names <= tensors.keys() for names in makers)


def not_finite(module: torch.nn.Module) -> str:
    """What a network that cannot compute holds, as "0.weight holds NaN"; empty for one that can.

    Buffers may be infinite: masks of attention are.
    """
    import torch

    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if torch.nn.parameter.is_lazy(tensor) or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        values = tensor.detach()
        if bool(values.isnan().any()):
            return f"{name} holds NaN"
        if isinstance(tensor, torch.nn.Parameter) and bool(values.isinf().any()):
            return f"{name} holds infinity"
    return ""


def _hashed(value: object, above: tuple[int, ...] = ()) -> str:
    digest = hashlib.sha256()
    _feed(digest, value, above)
    return digest.hexdigest()


def _feed(digest: Any, value: object, above: tuple[int, ...]) -> None:
    """Hash a value as far as it is data. `above`: what holds it, by id, so that a circle ends."""
    import numpy as np
    import torch

    kind = type(value)
    digest.update(f"{kind.__module__}.{kind.__qualname__}\0".encode())
    if id(value) in above:
        digest.update(f"{above.index(id(value))}\0".encode())
        return
    above = (*above, id(value))
    if isinstance(value, PLAIN) or kind in (torch.dtype, torch.device):
        digest.update(f"{value!r}\0".encode())
    elif isinstance(value, torch.Tensor):
        _feed_tensor(digest, value)
    elif isinstance(value, (np.ndarray, np.generic)):
        digest.update(f"{value.dtype} {value.shape}\0".encode())
        if value.dtype.kind != "O":
            digest.update(value.tobytes())
    elif isinstance(value, torch.nn.Module):  # kept in a plain list: torch does not know of it
        digest.update(combined(state_parts(value, above)).encode())
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)}\0".encode())
        for item in value:
            _feed(digest, item, above)
    elif isinstance(value, Mapping):
        digest.update(f"{len(value)}\0".encode())
        for key, item in value.items():
            _feed(digest, key, above)
            _feed(digest, item, above)
    elif isinstance(value, (set, frozenset)):
        digest.update(repr(sorted(ADDRESS.sub("", repr(item)) for item in value)).encode())
    elif callable(value):
        feed_callable(digest, value, _feed, above)
    else:
        _feed_object(digest, value, above)


def _feed_object(digest: Any, value: object, above: tuple[int, ...]) -> None:
    """Any other object by what a copy of it would be made from; a lock or an open file has no such thing."""
    try:
        parts = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001  (whatever its class raises)
        return
    _feed(digest, ADDRESS.sub("", parts) if isinstance(parts, str) else list(parts[1:]), above)


def _feed_tensor(digest: Any, tensor: torch.Tensor) -> None:
    import torch

    digest.update(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.layout}\0".encode())
    values = tensor.detach().cpu()
    if values.layout != torch.strided:
        values = values.to_dense()
    if values.is_quantized:
        digest.update(f"{values.qscheme()} {values}\0".encode())
        values = values.int_repr()
    # numpy knows no bfloat16: the bytes are what counts.
    digest.update(values.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy())


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""  # made in an interactive session: structure and state have to do
