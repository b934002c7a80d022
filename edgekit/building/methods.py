"""Which methods make networks smaller, said in one word list: `prune,qat`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace

from edgekit.building.request import LOW_RANK_AUTO, BuildRequest
from edgekit.errors import UserError
from edgekit.types import METHODS

__all__ = ["with_methods"]

COMPRESS = ("auto", "none", *METHODS)
"""auto: what the budget needs; none: quantized as it is; the others: these methods and no others."""

NEEDED = {
    "drop": "--drop blocks.3,blocks.7 or auto:2",
    "merge": "--merge blocks.3,blocks.7",
    "student": "--student net.py:make_small",
    "sparse": "--sparsity 2:4 or 0.8",
}
"""Methods that have to be told more → the option that does so."""


def with_methods(request: BuildRequest, given: object) -> BuildRequest:
    """The request with these methods and no others: a text, "prune,qat", or the names; None and auto leave it as it is.

    `qat` then trains in any case, `low-rank` chooses its ranks itself unless they are given. Raises UserError for an
    unknown name, for one that lacks what it needs, and where another option says the contrary.
    """
    methods = _names(given)
    if methods in ((), ("auto",)):
        return request
    if "auto" in methods or ("none" in methods and len(methods) > 1):
        alone = "auto" if "auto" in methods else "none"
        raise UserError(f"compress is {','.join(methods)!r}", remedy=f"give {alone} alone, or leave it out")
    asked = {
        "low-rank": request.low_rank is not None,
        "drop": bool(request.drop),
        "merge": bool(request.merge),
        "student": request.student is not None,
        "qat": request.qat == "always",
        "sparse": request.sparsity is not None,
    }
    for name, is_asked in asked.items():
        if is_asked and name not in methods:
            raise UserError(
                f"compress is {','.join(methods)!r}, and {name} is asked for by its own option",
                remedy=f"add {name}, or leave that option out",
            )
    for name in methods:
        if not asked.get(name, True) and name in NEEDED:
            raise UserError(f"compress names {name} without saying what", remedy=NEEDED[name])
    for name in ("drop", "merge"):
        if name in methods and "prune" not in methods:
            raise UserError(
                f"compress names {name} without prune, which goes on from there", remedy=f"prune,{name}"
            )
    left_out = {"prune": not request.prune and "--no-prune", "qat": request.qat == "never" and "--qat never"}
    for name, option in left_out.items():
        if option and name in methods:
            raise UserError(
                f"compress is {','.join(methods)!r}, and {option} leaves {name} out", remedy="say it once"
            )
    ranks = request.low_rank or LOW_RANK_AUTO
    return replace(
        request,
        prune="prune" in methods,
        low_rank=ranks if "low-rank" in methods else None,
        qat="always" if "qat" in methods else "never",
    )


def _names(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    items = (
        given.split(",")
        if isinstance(given, str)
        else list(given)
        if isinstance(given, Iterable)
        else [given]
    )
    texts = [item for item in items if isinstance(item, str)]
    if not texts or len(texts) < len(items):
        raise UserError(f"compress is {given!r}", allowed=", ".join(COMPRESS))
    names = tuple(dict.fromkeys(text.strip().lower() for text in texts))
    for name in names:
        if name not in COMPRESS:
            near = next(iter(difflib.get_close_matches(name, COMPRESS, n=1)), "")
            allowed = f"{', '.join(COMPRESS)}; several with commas between"
            raise UserError(
                f"compress: {name!r} is no method",
                allowed=allowed,
                remedy=f"did you mean {near}?" if near else "",
            )
    return names
