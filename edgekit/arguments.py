"""What a Python caller gives, as the command line's own values: the same readings, the same messages."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.building.request import TrainOptions
from edgekit.data import load_preprocess, make_preprocess
from edgekit.errors import BudgetError, DataError, UserError
from edgekit.precisions import OFFERED as PRECISIONS_OFFERED
from edgekit.quantities import parse_energy_mj, parse_latency_ms, parse_seconds, parse_size_bytes
from edgekit.reference import hold_function
from edgekit.runtimes import RUNTIMES
from edgekit.types import Preprocess

__all__ = [
    "read_function",
    "read_names",
    "read_preprocessing",
    "read_quantity",
    "read_training",
    "refuse_unknown",
]

OFFERED = {
    "precision": PRECISIONS_OFFERED,
    "runtime": tuple(RUNTIMES),
}
ELSEWHERE = {
    "accuracy": "metric",
    "batchsize": "batch_size",
    "criterion": "loss",
    "dataset": "data",
    "latency": "max_latency",
    "latency_ms": "max_latency",
    "lr": "learning_rate",
    "memory": "max_memory",
    "n_epochs": "epochs",
    "network": "model",
    "no_prune": "prune",
    "num_epochs": "epochs",
    "pruning": "prune",
    "output": "out",
    "size": "max_size",
    "train_step": "step",
    "transform": "preprocess",
}
"""What other libraries, and the command line, call an argument."""

HOLDERS = {
    "train": frozenset(field.name for field in dataclasses.fields(TrainOptions)),
    "preprocess": frozenset(field.name for field in dataclasses.fields(Preprocess)),
}
"""Arguments of `build` that are dicts, and what they hold."""

READERS: dict[str, Callable[[str], float]] = {
    "max_latency": parse_latency_ms,
    "max_size": parse_size_bytes,
    "max_memory": parse_size_bytes,
    "max_energy": parse_energy_mj,
    "time_limit": parse_seconds,
}


def read_quantity(name: str, given: str | float | None) -> float | None:
    """A quantity of READERS as a number in its base unit (milliseconds, bytes, seconds). Raises BudgetError.

    Texts are read as the command line reads them, numbers count in the base unit; None asks for nothing.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        raise BudgetError(
            f"{name} is a {type(given).__name__}", allowed='a text as "2ms" or "2MB", or a number'
        )
    if name == "max_latency" and given == "auto":
        return None
    return READERS[name](given if isinstance(given, str) else f"{given:.12f}")


def read_names(kind: str, given: str | Iterable[str] | None) -> tuple[Any, ...] | None:
    """Names of precisions or runtimes, "int8,fp16" or a sequence; None is all. Raises UserError for another name."""
    if given is None:
        return None
    names = given.split(",") if isinstance(given, str) else list(given)
    named = tuple(str(name).strip().lower() for name in names)
    for name in named:
        if name not in OFFERED[kind]:
            raise UserError(f"{name!r} is not a {kind}", allowed=", ".join(OFFERED[kind]))
    if not named:
        raise UserError(f"{kind} names none", allowed=", ".join(OFFERED[kind]))
    return named


def read_function(name: str, given: str | Callable[..., Any] | None) -> str | None:
    """A reference (`file.py:function`, or a name that is known), or what stands for a live function."""
    if given is None or isinstance(given, str):
        return given
    if not callable(given):
        raise UserError(f"{name} is a {type(given).__name__}", allowed="a function, or file.py:function")
    from edgekit.model.state import function_digest

    return hold_function(given, function_digest(given))


def read_training(
    given: TrainOptions | Mapping[str, Any] | None, loss: str | None = None, step: str | None = None
) -> TrainOptions:
    """How pruned networks are trained, from a dict of its fields; `loss` and `step` count where they are given."""
    if given is None:
        options = TrainOptions()
    elif isinstance(given, TrainOptions):
        options = given
    elif isinstance(given, Mapping):
        values = {str(key): value for key, value in given.items()}
        refuse_unknown("train has no", values, [field.name for field in dataclasses.fields(TrainOptions)])
        values |= {name: read_function(name, values[name]) for name in ("loss", "step") if name in values}
        options = TrainOptions(**values)
    else:
        raise UserError(f"train is a {type(given).__name__}", allowed='a dict, as {"epochs": 4}')
    return dataclasses.replace(options, loss=loss or options.loss, step=step or options.step)


def read_preprocessing(given: Preprocess | Mapping[str, Any] | str | Path | None) -> Preprocess:
    """Preprocessing from a dict of its fields or a TOML file. Raises DataError."""
    if given is None:
        return Preprocess()
    if isinstance(given, Preprocess):
        return given
    if isinstance(given, (str, Path)):
        return load_preprocess(given)
    if not isinstance(given, Mapping):
        raise DataError(
            f"preprocess is a {type(given).__name__}", allowed='a dict, as {"scale": 255}, or a TOML file'
        )
    return make_preprocess({str(key): value for key, value in given.items()}, "preprocess: ")


def refuse_unknown(
    came: str, given: Iterable[str], known: Sequence[str], shown: Sequence[str] | None = None
) -> None:
    """Raises UserError for the first name that is not known, with the one that is meant, or the nearest.

    `shown`: of what is known, what a caller writes; all of it by default.
    """
    offered = known if shown is None else shown
    for name in given:
        if name not in known:
            meant = ELSEWHERE.get(name, name)
            near = [meant] if meant in offered else difflib.get_close_matches(name, offered, n=1)
            holder = next((kind for kind, fields in HOLDERS.items() if meant in fields), "")
            if holder and meant not in offered and holder in offered:
                hint = f"it belongs into {holder}, as {holder}={{{meant!r}: …}}"
            else:
                hint = f"did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{came} {name!r}", allowed=", ".join(offered), remedy=hint)
