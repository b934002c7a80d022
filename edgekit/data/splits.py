"""Train, calibration, validation and test: disjoint by construction, and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from edgekit.data.base import Batch, DataSource
from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Split", "Splits", "make_splits"]

VALIDATION_SHARE = 0.20
TEST_SHARE = 0.20
CALIBRATION_SHARE = 0.15
FEWEST_CALIBRATION = 16
GOOD_CALIBRATION = 128


@dataclass(frozen=True)
class Split:
    """Samples of one source for one purpose, in an order that mixes the classes. `indices`: int64 [N]."""

    name: str
    source: DataSource
    indices: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labelled(self) -> bool:
        return self.source.labelled

    @property
    def digest(self) -> str:
        """SHA-256 over the source's digest and the indices."""
        digest = hashlib.sha256(self.source.digest.encode())
        digest.update(np.ascontiguousarray(self.indices, dtype="<i8").tobytes())
        return digest.hexdigest()

    @property
    def labels(self) -> NDArray[np.generic] | None:
        """Labels [N, ...] without reading samples, or None."""
        labels = self.source.labels
        return None if labels is None else labels[self.indices]

    def batches(
        self, batch_size: int, *, shuffle_seed: int | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """Stream batches; the last may be smaller. `limit` takes the first samples, before any shuffling."""
        indices = self.indices if limit is None else self.indices[:limit]
        if shuffle_seed is not None:
            indices = np.random.default_rng(shuffle_seed).permutation(indices)
        for start in range(0, len(indices), batch_size):
            yield self.source.take(indices[start : start + batch_size])

    def subset(self, places: NDArray[np.int64]) -> Split:
        """Some of its samples, by their places (int64 [M]) in its order."""
        return replace(self, indices=self.indices[places])


@dataclass(frozen=True)
class Splits:
    """The four purposes. `train` is None where the source has no samples to spare for it.

    Making one with overlapping splits raises DataError. `warnings` are lines for the user.
    """

    train: Split | None
    calibration: Split
    validation: Split
    test: Split
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for split, other in combinations(self.all(), 2):
            if split.source is other.source and np.intersect1d(split.indices, other.indices).size:
                raise DataError(
                    f"the splits {split.name} and {other.name} share samples", allowed="disjoint splits"
                )

    def all(self) -> tuple[Split, ...]:
        """Those that exist, train first."""
        splits = (self.train, self.calibration, self.validation, self.test)
        return tuple(split for split in splits if split is not None)

    def sizes(self) -> dict[str, int]:
        """Split name → number of samples."""
        return {split.name: len(split) for split in self.all()}


def make_splits(source: DataSource, *, seed: int, calibration_samples: int = 512) -> Splits:
    """Divide `source`, deterministically for a seed, with equal shares of every class.

    Parts that the source declares stay whole: calibration comes out of train (without train, out of what
    there is); where validation or test is absent, the other is halved, because a network may have seen the
    training samples. Without parts: 20 % test, 20 % validation, up to 15 % calibration, the rest train.
    Raises DataError for fewer than 16 calibration samples; warns below 128.
    """
    if calibration_samples < FEWEST_CALIBRATION:
        raise DataError(
            f"{calibration_samples} calibration samples asked for", allowed=f"{FEWEST_CALIBRATION} or more"
        )
    order = _interleaved(source.labels, len(source), seed)
    pools = {part: order[_inside(order, indices)] for part, indices in source.parts.items()}
    _check_parts(source, source.parts)
    warnings: list[str] = []
    if set(pools) == {"train"}:
        warnings.append(
            f"{source.name} has only a train part: a network that was trained on it looks too good"
        )
    if not pools or set(pools) == {"train"}:
        divided = _divide_all(order if not pools else pools["train"], calibration_samples)
    else:
        divided = _divide_parts(source.name, pools, calibration_samples, warnings)
    calibration = divided["calibration"]
    if len(calibration) < FEWEST_CALIBRATION or not len(divided["validation"]) or not len(divided["test"]):
        raise DataError(
            f"{source.name} has {len(source)} samples, which leaves {len(calibration)} for calibration",
            allowed=f"{FEWEST_CALIBRATION} or more",
            remedy="give more data (64 samples at least)",
        )
    if len(calibration) < GOOD_CALIBRATION:
        warnings.append(f"only {len(calibration)} calibration samples; {GOOD_CALIBRATION} or more are better")
    made = {name: Split(name, source, indices) for name, indices in divided.items()}
    train = made["train"] if len(made["train"]) else None
    return Splits(train, made["calibration"], made["validation"], made["test"], tuple(warnings))


def _check_parts(source: DataSource, parts: Mapping[str, range]) -> None:
    for part, indices in parts.items():
        if part not in ("train", "val", "test"):
            raise DataError(f"{source.name} declares a part {part!r}", allowed="train, val, test")
        if len(indices) and (min(indices) < 0 or max(indices) >= len(source)):
            raise DataError(f"{source.name}: part {part!r} reaches beyond its {len(source)} samples")
    for (part, first), (other, second) in combinations(parts.items(), 2):
        if set(first) & set(second):
            raise DataError(
                f"{source.name}: the parts {part} and {other} share samples", allowed="disjoint parts"
            )


def _inside(order: NDArray[np.int64], indices: range) -> NDArray[np.bool_]:
    return np.isin(order, np.arange(indices.start, indices.stop, indices.step))


def _calibration_size(available: int, wanted: int) -> int:
    """At most 15 % of what there is; small sets give up to a quarter to come to 128."""
    return min(wanted, max(int(available * CALIBRATION_SHARE), min(GOOD_CALIBRATION, available // 4)))


def _divide_all(order: NDArray[np.int64], wanted: int) -> dict[str, NDArray[np.int64]]:
    total = len(order)
    test = round(total * TEST_SHARE)
    validation = test + round(total * VALIDATION_SHARE)
    calibration = validation + _calibration_size(total, wanted)
    return {
        "train": order[calibration:],
        "calibration": order[validation:calibration],
        "validation": order[test:validation],
        "test": order[:test],
    }


def _divide_parts(
    name: str, pools: Mapping[str, NDArray[np.int64]], wanted: int, warnings: list[str]
) -> dict[str, NDArray[np.int64]]:
    left = dict(pools)
    donor = next(part for part in ("train", "val", "test") if part in left)
    size = _calibration_size(len(left[donor]), wanted)
    calibration, left[donor] = left[donor][:size], left[donor][size:]
    for absent, present in (("test", "val"), ("val", "test")):
        if absent not in left:
            # Every second sample: the order mixes classes, so both halves have equal shares.
            left[absent], left[present] = left[present][1::2], left[present][::2]
            warnings.append(f"{name} has no {absent} part: half of {present} serves as {absent}")
    return {
        "train": left.get("train", np.empty(0, np.int64)),
        "calibration": calibration,
        "validation": left["val"],
        "test": left["test"],
    }


def _interleaved(labels: NDArray[np.generic] | None, length: int, seed: int) -> NDArray[np.int64]:
    """All indices, shuffled so that every stretch holds each class in its share of the whole.

    The i-th of a class's n shuffled samples goes to place (i + u) / n, with one random u per class. Labels that are
    no classes have no shares: their samples are only shuffled.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(length).astype(np.int64)
    if labels is None or not _are_classes(labels):
        return order
    shuffled = labels[order]
    place = np.empty(length)
    for label in np.unique(shuffled):
        members = np.flatnonzero(shuffled == label)
        place[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return order[np.argsort(place, kind="stable")]


def _are_classes(labels: NDArray[np.generic]) -> bool:
    """Numbers that come twice on average, at least: those of samples, and targets, are no classes."""
    whole = labels.ndim == 1 and labels.dtype.kind in "iu"
    return whole and 2 * len(np.unique(labels)) <= len(labels)
