"""Names of blocks and chains that a user gives, held against those that the network has."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from edgekit.errors import UserError

__all__ = ["refuse_unknown"]


def refuse_unknown(
    names: Collection[str],
    known: Collection[str],
    *,
    kind: str,
    none: str,
    reasons: Mapping[str, str] | None = None,
) -> None:
    """Raises UserError for the first name that is not `known`: the names within it or the nearest, else all that are.

    `kind`: what it would have to be; `none`: said where there are none; `reasons`: names that are none → why.
    """
    for name in names:
        if name in known:
            continue
        inside = [other for other in known if other.startswith(f"{name}.")]
        meant = inside or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        why = "" if inside or not reasons or name not in reasons else f": {reasons[name]}"
        raise UserError(
            f"{name!r} is no {kind}{why}",
            allowed=", ".join(known) or f"none: {none}",
            remedy=f"did you mean {' or '.join(map(repr, meant))}?" if meant else "",
        )
