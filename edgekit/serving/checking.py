"""Stored samples as network inputs, checked before they may wait: what a runtime would round in silence is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.serving.problems import RequestProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.board import Model

__all__ = ["checked_rows"]


def checked_rows(
    model: Model, samples: Mapping[str, NDArray[Any]], most: int
) -> tuple[list[list[NDArray[Any]]], bool]:
    """Network inputs [1, ...] of each sample, and whether they came as a batch. Starts no inference.

    Raises RequestProblem: other names, another shape, NaN or infinite values, numbers that the input's type does not
    hold, more than `most` samples.
    """
    from edgekit.board.preprocess import SampleError

    names = [spec["name"] for spec in model.inputs]
    if set(samples) != set(names):
        raise RequestProblem(
            422, f"inputs came as {', '.join(sorted(samples)) or 'nothing'}", allowed=", ".join(names)
        )
    for name, array in samples.items():
        _refuse_infinite(name, array)
    for spec in model.inputs:
        _refuse_many(samples[spec["name"]], spec, most)
    try:
        with np.errstate(all="ignore"):  # what overflows is refused below
            arrays, batched = model.prepare(samples)
    except SampleError as problem:
        raise RequestProblem(422, problem.came, allowed=problem.allowed, remedy=problem.remedy) from problem
    except (ValueError, TypeError, MemoryError) as problem:
        raise RequestProblem(422, str(problem)) from problem
    typed = [_typed(spec, array) for spec, array in zip(model.inputs, arrays, strict=True)]
    return [[array[index : index + 1] for array in typed] for index in range(len(typed[0]))], batched


def _refuse_many(array: NDArray[Any], spec: Mapping[str, Any], most: int) -> None:
    if array.ndim == len(spec["shape"]) and len(array) > most:
        raise RequestProblem(
            413,
            f"{len(array)} samples came",
            allowed=f"{most} in one request",
            remedy="send several requests",
        )


def _refuse_infinite(name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise RequestProblem(422, f"input {name} holds NaN or infinite values", allowed="finite numbers")


def _typed(spec: Mapping[str, Any], array: NDArray[Any]) -> NDArray[Any]:
    """In the type of the network's input. A session casts by itself, but without a word where that loses something."""
    name, dtype = spec["name"], np.dtype(spec["dtype"])
    if array.dtype == dtype:
        _refuse_infinite(name, array)
        return np.ascontiguousarray(array)
    with np.errstate(all="ignore"):
        cast = np.ascontiguousarray(array, dtype=dtype)
    if dtype.kind == "f":
        _refuse_infinite(name, cast)  # also 1e300 as float32
    elif not np.array_equal(cast.astype(array.dtype), array):
        raise RequestProblem(
            422, f"input {name} holds numbers that are no {dtype}", allowed=f"values of {dtype}"
        )
    return cast
