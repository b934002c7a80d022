"""Weights files: .safetensors, and .pt/.pth read with weights_only=True, so that no pickle runs code."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgekit.errors import MissingExtraError, ModelError
from edgekit.model.locate import WeightsPart

if TYPE_CHECKING:
    import torch

__all__ = ["READ_ERRORS", "check_weights", "load_plain", "load_weights"]

WHOLE = WeightsPart()
PROFILED = ("total_ops", "total_params")  # thop registers them as buffers of every layer
DEEPEST = 3
SHOWN = 4
MANY = 12

# What torch's restricted unpickler and its archive reader raise on bytes that are no checkpoint.
READ_ERRORS = (
    pickle.UnpicklingError,
    struct.error,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
)


def read_state_dicts(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Every set of named tensors in the file, by where it lies ("state_dict", "" for the file itself), on the CPU.

    Raises ModelError for what is corrupt or holds no such set.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pt(path)
    held = dict(_state_dicts(content, ""))
    if not held:
        what = _name(content)
        if isinstance(content, Mapping) and content:
            import torch

            strange = next(name for name, value in content.items() if not isinstance(value, torch.Tensor))
            what = f"{what} in which {strange!r} is {_name(content[strange])}"
        raise ModelError(
            f"{path.name} holds no state dict but {what}",
            allowed="names with tensors, as torch.save(model.state_dict(), FILE) writes",
        )
    return held


def _state_dicts(
    content: object, place: str, depth: int = 0
) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    import torch

    if not isinstance(content, Mapping) or not content or depth > DEEPEST:
        return
    if all(isinstance(value, torch.Tensor) for value in content.values()):
        yield place, {str(name): value for name, value in content.items()}
        return
    for name, value in content.items():
        yield from _state_dicts(value, f"{place}.{name}" if place else str(name), depth + 1)


def _name(content: object) -> str:
    return "an empty dict" if content == {} else f"a {type(content).__name__}"


def _read_safetensors(path: Path) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as problem:
        raise MissingExtraError("safetensors", "torch") from problem
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as problem:
        raise ModelError(f"{path} is not a readable .safetensors file: {problem}") from problem


def load_plain(file: Path | IO[bytes]) -> object:
    """torch.load(weights_only=True), on the CPU, without its warnings. Raises one of READ_ERRORS."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=True)


def _read_pt(path: Path) -> object:
    try:
        return load_plain(path)
    except pickle.UnpicklingError as problem:
        raise ModelError(
            f"{path} was not loaded: {_culprit(str(problem))}",
            allowed="a state dict of plain tensors",
            remedy="save model.state_dict() with safetensors",
        ) from problem
    except READ_ERRORS as problem:
        first = str(problem).strip().splitlines()
        if first and "TorchScript" in first[0]:
            raise ModelError(
                f"{path} is a TorchScript archive", allowed="a state dict", remedy="save model.state_dict()"
            ) from problem
        raise ModelError(f"{path} is not a readable checkpoint: {first[0] if first else ''}") from problem


def _culprit(message: str) -> str:
    """The sentence of torch's long message that says what was refused."""
    for line in message.splitlines():
        for mark in ("Unsupported global:", "Unsupported class", "Unsupported operand", "Trying to"):
            if mark in line:
                sentence = line[line.index(mark) :].split(" was not an allowed")[0].split(". ")[0]
                return f"it holds more than tensors ({sentence.strip()}); a pickle like this can run code"
    return "it is corrupt, or holds more than tensors"


def check_weights(path: Path) -> None:
    """Read the file as `load_weights` does, and let go of it. Raises ModelError."""
    read_state_dicts(path)


def load_weights(module: torch.nn.Module, path: Path, part: WeightsPart = WHOLE) -> tuple[str, ...]:
    """Put the file's weights into `module`; gives what had to be done to their names, a line each.

    Weights lie in the file itself or under a name, as training tools save them ("state_dict", "model", "ema"). What
    stands before every name ("module.", "_orig_mod.", "model.") is taken away where all names fit then, and
    what a profiler counts (total_ops, total_params) is left out where the network has none. `part` says what is meant
    where that is not enough. Raises ModelError naming the keys that do not fit, and where two different sets of weights
    fit, with the option that helps.
    """
    own = module.state_dict()
    chosen = _chosen(read_state_dicts(path), part, path.name)
    offered = {place: _fitted(fit, own) for place, fit in chosen.items()}
    fitting = {place: fit for place, fit in offered.items() if not _misfits(fit.state, own)}
    if not fitting:
        place, fit = max(offered.items(), key=lambda item: len(own.keys() & item[1].state.keys()))
        inside = f" ({place})" if place else ""
        begins = _shared_prefixes(fit.state, own)
        raise ModelError(
            f"{path.name}{inside} does not fit the network: {_misfits(fit.state, own)}",
            remedy=f"{_options('--weights-prefix', begins)} takes only what stands under it"
            if begins
            else "give the weights that belong to this factory",
        )
    place, fit = next(iter(fitting.items()))
    for other, second in fitting.items():
        if not _same(fit.state, second.state):
            raise ModelError(
                f"{path.name} holds two different sets of weights that fit, {place!r} and {other!r}",
                remedy=f"say which is meant: {_options('--weights-key', [place, other])}",
            )
    try:
        module.load_state_dict(fit.state, strict=True)
    except RuntimeError as problem:
        raise ModelError(f"{path.name} does not fit the network: {problem}") from problem
    return tuple(f"{path.name}: {note}" for note in fit.notes)


def _options(option: str, values: list[str]) -> str:
    return " or ".join(f"{option} {value}" for value in values[:SHOWN])


@dataclass(frozen=True)
class _Fit:
    """Weights by the network's names, as far as they could be brought to them, and what was done for it."""

    state: dict[str, torch.Tensor]
    notes: tuple[str, ...] = ()


def _chosen(held: dict[str, dict[str, torch.Tensor]], part: WeightsPart, name: str) -> dict[str, _Fit]:
    """What `part` leaves of the sets of weights in a file. Raises ModelError where that is nothing."""
    if part.key and part.key not in held:
        places = [place for place in held if place]
        raise ModelError(
            f"{name} has no weights under {part.key!r}",
            allowed=_some(places) or "no --weights-key: they lie in the file itself",
        )
    fits = {place: _Fit(state) for place, state in held.items() if part.key in ("", place)}
    if not part.prefix:
        return fits
    under = {place: _under(part.prefix, fit.state) for place, fit in fits.items()}
    if not any(fit.state for fit in under.values()):
        begins = {key.partition(".")[0] + "." for fit in fits.values() for key in fit.state if "." in key}
        raise ModelError(
            f"no name in {name} begins with {part.prefix!r}, which --weights-prefix takes away",
            allowed=_some(sorted(begins)) or "no --weights-prefix: the names have none",
        )
    return {place: fit for place, fit in under.items() if fit.state}


def _under(prefix: str, state: dict[str, torch.Tensor]) -> _Fit:
    """What stands under a prefix, by the rest of its names; "model" is meant as "model." where names have that."""
    begin = f"{prefix}." if any(name.startswith(f"{prefix}.") for name in state) else prefix
    kept = {name[len(begin) :]: value for name, value in state.items() if name.startswith(begin)}
    others = [name for name in state if not name.startswith(begin)]
    left = f"; {len(others)} other values are left out ({others[0]})" if others else ""
    return _Fit(kept, (f"{begin!r} before {len(kept)} names was taken away{left}",))


def _some(values: list[str]) -> str:
    return ", ".join(values[:MANY]) + (f" and {len(values) - MANY} more" if len(values) > MANY else "")


def _fitted(given: _Fit, own: Mapping[str, torch.Tensor]) -> _Fit:
    state = given.state
    counted = [name for name in state if name.rpartition(".")[2] in PROFILED and name not in own]
    kept = {name: value for name, value in state.items() if name not in counted}
    notes = given.notes
    if counted:
        notes = (*notes, f"{len(counted)} values that a profiler counted are left out ({counted[0]})")
    names = list(kept)
    for depth in range(1, 1 + min((name.count(".") for name in names), default=0)):
        if not _misfits(kept, own):
            break
        begin = ".".join(names[0].split(".")[:depth]) + "."
        stripped = {name[len(begin) :]: value for name, value in kept.items() if name.startswith(begin)}
        if len(stripped) == len(kept) and not _misfits(stripped, own):
            told = f"{begin!r} before every name was taken away"
            return _Fit(stripped, notes if begin == "module." else (*notes, told))
    return _Fit(kept, notes)


def _shared_prefixes(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> list[str]:
    """What stands before names of which some, though not all, would fit without it."""
    missing = {name for name in own if not name.endswith("num_batches_tracked")}
    begins = {name[: len(name) - len(ours)] for name in state for ours in own if name.endswith("." + ours)}
    return [begin for begin in sorted(begins) if all(begin + name in state for name in missing)]


def _misfits(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str:
    """What does not fit, for people; empty where all does."""
    # Checkpoints from before 2017 lack this counter; torch's BatchNorm fills it in.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name} is {list(state[name].shape)}, the network has {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    parts = (
        _listed("missing", missing),
        _listed("unexpected", unexpected),
        _listed("of another shape", misshapen),
    )
    return "; ".join(part for part in parts if part)


def _same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and bool((first[name] == second[name]).all())
        for name in first
    )


def _listed(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    rest = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(keys[:SHOWN])}{rest})"
