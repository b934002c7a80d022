"""What a JSON file must look like: a form says it, and `fitting` reads a value by it before anything uses the value.

A form is a function (value, place) that raises ValueError with one short line where the value does not fit.
"""

import math
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

Form = Callable[[Any, str], None]

LONGEST_VALUE = 60
LONGEST_TEXT = 4096  # of a name or path
MOST_ITEMS = 100000


def one_line(problem: object, most: int = 300) -> str:
    """A text for a message: on one line, what is not printable as its escape, the middle of what is long left out."""
    words = " ".join(str(problem).split())
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in words)
    if len(line) <= most:
        return line
    tail = most // 3
    return line[: most - tail - 3] + "..." + line[-tail:]


def misfit(value: Any, place: str, allowed: str) -> ValueError:
    """The error of a value that does not fit; a long value is told in part."""
    try:
        came = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        came = "a %s" % type(value).__name__
    return ValueError("%s is %s; allowed: %s" % (one_line(place, 80), one_line(came, LONGEST_VALUE), allowed))


def text(value: Any, place: str) -> None:
    """A text that a file or a terminal can take."""
    good = isinstance(value, str) and len(value) <= LONGEST_TEXT and "\0" not in value
    if good:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            good = False
    if not good:
        raise misfit(value, place, "a text of UTF-8, at most %d letters" % LONGEST_TEXT)


def one_of(*choices: str) -> Form:
    """One of these texts."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or value not in choices:
            raise misfit(value, place, ", ".join(choices))

    return check


def truth(value: Any, place: str) -> None:
    """true or false."""
    if not isinstance(value, bool):
        raise misfit(value, place, "true or false")


def whole(low: int, high: int = 2**63 - 1) -> Form:
    """A whole number from `low` to `high`."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise misfit(value, place, "a whole number from %d to %d" % (low, high))

    return check


def number(low: float, high: float = 1e15) -> Form:
    """A finite number from `low` to `high`."""

    def check(value: Any, place: str) -> None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or (isinstance(value, float) and math.isnan(value)) or not low <= value <= high:
            raise misfit(value, place, "a number from %g to %g" % (low, high))

    return check


def maybe(form: Form) -> Form:
    """null, or what `form` says."""

    def check(value: Any, place: str) -> None:
        if value is not None:
            form(value, place)

    return check


def list_of(form: Form, fewest: int = 0) -> Form:
    """A list of such values."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or not fewest <= len(value) <= MOST_ITEMS:
            raise misfit(value, place, "a list of %d to %d" % (fewest, MOST_ITEMS))
        for index, item in enumerate(value):
            form(item, "%s[%d]" % (place, index))

    return check


def one_or_pair(form: Form) -> Form:
    """One such value, or a list of two."""

    def check(value: Any, place: str) -> None:
        if isinstance(value, list):
            if len(value) != 2:
                raise misfit(value, place, "one, or a list of two")
            for index, item in enumerate(value):
                form(item, "%s[%d]" % (place, index))
        else:
            form(value, place)

    return check


def table(form: Form) -> Form:
    """An object with any names and such values."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict) or len(value) > MOST_ITEMS:
            raise misfit(value, place, "an object")
        for name, item in value.items():
            text(name, "a name in %s" % place)
            form(item, "%s.%s" % (place, name))

    return check


def record(required: Mapping[str, Form], optional: Optional[Mapping[str, Form]] = None) -> Form:
    """An object with these keys; further keys are left unread."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise misfit(value, place, "an object with %s" % ", ".join(sorted(required)))
        for name, form in required.items():
            if name not in value:
                raise ValueError("%s has no %s" % (one_line(place, 80), name))
            form(value[name], "%s.%s" % (place, name))
        for name, form in (optional or {}).items():
            if name in value:
                form(value[name], "%s.%s" % (place, name))

    return check


def distinct(values: Sequence[str], place: str) -> None:
    """Raises ValueError for a text that stands there twice."""
    seen: Dict[str, int] = {}
    for index, value in enumerate(values):
        if seen.setdefault(value, index) != index:
            raise misfit(value, "%s[%d]" % (place, index), "each once")
