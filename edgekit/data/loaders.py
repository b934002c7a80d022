"""torch's own loaders and data sets: the same samples in the same order, each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import DataError

if TYPE_CHECKING:
    import torch

__all__ = ["in_order", "refuse_random"]

BATCH = 64  # where a loader has no batch size of its own


def in_order(name: str, loader: torch.utils.data.DataLoader[Any]) -> torch.utils.data.DataLoader[Any]:
    """The loader's samples in the order of its data set, whatever it shuffles. Raises DataError for one that draws.

    A loader of a stream is given back as it is.
    """
    from torch.utils import data

    dataset, sampler = loader.dataset, loader.sampler
    if isinstance(dataset, data.IterableDataset):
        return loader
    if isinstance(sampler, data.SubsetRandomSampler):
        dataset = data.Subset(dataset, sorted(int(index) for index in sampler.indices))
    elif type(sampler) not in (data.SequentialSampler, data.RandomSampler) or getattr(
        sampler, "replacement", False
    ):
        raise DataError(
            f"{name}: its {type(sampler).__name__} decides which samples come",
            remedy="give the data set itself, or a torch.utils.data.Subset of it",
        )
    if isinstance(dataset, Sized):
        refuse_random(name, dataset, type(dataset).__getitem__)
    return data.DataLoader(dataset, batch_size=loader.batch_size or BATCH, collate_fn=loader.collate_fn)


def refuse_random(name: str, dataset: Sized, getter: Callable[[Any, int], object]) -> None:
    """Raises DataError for a data set that augments at random: what is measured would be other data each time."""
    if len(dataset) and not _equal(getter(dataset, 0), getter(dataset, 0)):
        raise DataError(
            f"{name}: sample 0 is another one when it is read again",
            remedy="leave random augmentation out: training brings its own",
        )


def _equal(first: object, again: object) -> bool:
    if isinstance(first, Mapping) and isinstance(again, Mapping):
        return first.keys() == again.keys() and all(_equal(first[key], again[key]) for key in first)
    if isinstance(first, (tuple, list)) and isinstance(again, (tuple, list)):
        return len(first) == len(again) and all(map(_equal, first, again))
    before, after = np.asarray(first), np.asarray(again)
    return bool(np.array_equal(before, after, equal_nan=before.dtype.kind in "fc"))
