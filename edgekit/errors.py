"""Every error that edgekit raises on purpose.

EdgekitError
├── UserError                 the user's input cannot be used: one line, exit code 2
│   ├── UnknownTargetError    no board of that name; the nearest names are in the message
│   ├── TargetFileError       a target description breaks the schema (file, key, what is allowed)
│   ├── RecipeError           a calibration recipe breaks the schema or is not known
│   ├── ModelError            a model or its weights cannot be loaded or checked
│   ├── DataError             data that cannot be used (NaN, shapes, labels, too few samples)
│   ├── BudgetError           a budget that is not a quantity
│   ├── OutputError           a folder or file that cannot be written
│   ├── MissingExtraError     an optional package is absent; the pip line is in the message
│   ├── DeviceError           a board that cannot be reached, refuses us, or lacks what measuring needs
│   ├── BundleError           a bundle that is incomplete or was changed
│   └── StoreError            the store is damaged, in use by another for too long, or the disk is full
├── StageError                one candidate failed at one stage; becomes a `Failure` in the report
├── TimeLimitReached          work that the time limit leaves undone; becomes a `Rejection` in the report
└── Interrupted               Ctrl-C, or a time limit before anything was measured: a rerun resumes
"""

from __future__ import annotations

import re

__all__ = [
    "BudgetError",
    "BundleError",
    "DataError",
    "DeviceError",
    "EdgekitError",
    "Interrupted",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "RecipeError",
    "StageError",
    "StoreError",
    "TargetFileError",
    "TimeLimitReached",
    "UnknownTargetError",
    "UserError",
    "in_one_line",
    "shortened",
    "visible",
]

LONGEST_PART = 300
"""Characters of each part of a message: what came, what is allowed, how to mend it."""


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0, C1, bytes that are no UTF-8 (surrogates), and what turns the direction of writing (Unicode's "Trojan Source")."""


class EdgekitError(Exception):
    """Base of all errors that edgekit raises on purpose."""


class UserError(EdgekitError):
    """Bad input. The message is one line: what came, what is allowed, how to mend it."""

    def __init__(self, came: str, *, allowed: str = "", remedy: str = "") -> None:
        parts = [came, f"allowed: {allowed}" if allowed else "", remedy]
        super().__init__("; ".join(shortened(part) for part in parts if part))
        self.parts = (came, allowed, remedy)


class UnknownTargetError(UserError):
    """No target of that name."""


class TargetFileError(UserError):
    """A target description that breaks the schema."""


class RecipeError(UserError):
    """A calibration recipe that is unknown or breaks the schema."""


class ModelError(UserError):
    """A model or weights file that cannot be used."""


class DataError(UserError):
    """Data that cannot be used for this model."""


class BudgetError(UserError):
    """A budget that is not a quantity, or that contradicts another."""


class OutputError(UserError):
    """A place that cannot be written."""


class DeviceError(UserError):
    """A board that cannot be reached, does not let us in, or lacks what measuring needs."""


class BundleError(UserError):
    """A bundle that is incomplete, was changed, or was made by an unknown version."""


class StoreError(UserError):
    """The store is damaged or cannot be written (a full disk); the message says how to go on."""


class MissingExtraError(UserError):
    """An optional package is not installed; the message carries the exact pip line."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed: pip install "edgekit[{extra}]"')
        self.package = package
        self.extra = extra


class StageError(EdgekitError):
    """One candidate failed at one stage; the build turns it into a `Failure` and goes on."""

    def __init__(self, stage: str, cause: str, remedy: str = "") -> None:
        super().__init__(f"{stage}: {cause}")
        self.stage = stage
        self.cause = cause
        self.remedy = remedy


class TimeLimitReached(EdgekitError):
    """The time limit of a build ended before this piece of work; the build goes on with what is finished."""


class Interrupted(EdgekitError):
    """The run was stopped; everything finished so far is in the store."""


def visible(text: str) -> str:
    """The text with its control characters as Python writes them: an ESC in a file's name must not rule a terminal.

    Line breaks and tabs stay.
    """
    return CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def in_one_line(problem: BaseException, most: int = 300) -> str:
    """What a library said, with its line breaks gone and its end cut off, for a sentence of ours."""
    return visible(" ".join(str(problem).split()))[:most]


def shortened(text: str, most: int = LONGEST_PART) -> str:
    """One line, visible, with the middle of what is long left out."""
    line = visible(" ".join(text.split()))
    if len(line) <= most:
        return line
    tail = most // 3
    return f"{line[: most - tail - 1]}…{line[-tail:]}"
