"""`.pt2` programs (torch.export), checked before torch opens them.

`torch.export.load` (2.13) unpickles without restriction whatever the archive marks as a pickled or custom
object, falls back to an unrestricted load where a restricted one fails, evaluates shapes and guards as code,
looks up operators by dotted name anywhere under `torch`, and loads compiled AOTInductor libraries. A
plain network needs none of that: an archive that asks for it is refused here. What remains is JSON and raw
tensors. This list was drawn up against torch 2.13; a later torch may bring new ways.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ModelError
from edgekit.model.weights import READ_ERRORS, load_plain

if TYPE_CHECKING:
    import torch

__all__ = ["load_pt2"]

_DUNDERS = r"__i?(?:and|or|xor|lshift|rshift)__"
_OPERATOR = re.compile(
    rf"torch\.ops(?:\.(?:(?!__)\w+|{_DUNDERS})){{2,3}}"
    r"|torch\.sym_[a-z]+"
    r"|math\.(?:ceil|floor|trunc|sqrt|pow)"
    r"|_operator\.(?:getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|pos|eq|ne|lt|le|gt|ge|and_|or_|xor|not_)"
)
_LOADERS = ("torch.ops.load_library", "torch.ops.import_module", "torch.ops.loaded_libraries")
_SYMBOLS = frozenset(
    re.findall(
        r"\w+",
        """
        Symbol Integer Float Rational positive nonnegative negative integer real finite True False oo int_oo
        Add Mul Pow Mod Max Min Eq Ne Lt Le Gt Ge And Or Not Piecewise Equality Unequality StrictLessThan
        StrictGreaterThan LessThan GreaterThan FloorDiv PythonMod CleanDiv CeilDiv ModularIndexing TruncToInt
        IntTrueDiv
        """,
    )
)


def load_pt2(path: Path) -> torch.nn.Module:
    """The program as a module that is in eval mode and ignores train(). Raises ModelError."""
    import logging
    import warnings

    import torch

    check_archive(path)
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path).module()
    except (
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        OSError,
        pickle.UnpicklingError,
    ) as problem:  # what its deserializer raises on a damaged or newer archive
        first = str(problem).strip().splitlines()
        raise ModelError(
            f"{path} is not a readable .pt2 program: {first[0] if first else problem!r}"
        ) from problem
    finally:
        logger.setLevel(level)

    class ExportedNetwork(torch.nn.Module):
        """torch.export's module raises on train() and eval(); what it computes is fixed anyway."""

        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network
            self.training = False

        def train(self, mode: bool = True) -> ExportedNetwork:
            return self

        def forward(self, *inputs: torch.Tensor) -> object:
            return self.network(*inputs)

    return ExportedNetwork(program)


def check_archive(path: Path) -> None:
    """Refuse an archive that would make torch.export.load run code. Raises ModelError."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if not any(name.endswith("archive_format") for name in names):
                raise ModelError(
                    f"{path} is not a .pt2 program of torch 2.8 or later",
                    remedy="save it again with torch.export.save",
                )
            for name in names:
                problem = _problem(archive, name)
                if problem:
                    raise ModelError(
                        f"{path} was not loaded: {name} {problem}",
                        allowed="a plain torch.export program",
                        remedy="this can run code; save it again with torch.export.save",
                    )
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path} is not a readable .pt2 program: {error}") from error


def _problem(archive: zipfile.ZipFile, name: str) -> str:
    """What is wrong with one member; empty when nothing is."""
    inside = name.split("/", 1)[-1]
    if inside.startswith(("data/aotinductor/", "data/executorch/", "data/mtia/")):
        return "is compiled code"
    base = inside.rsplit("/", 1)[-1]
    if inside.startswith("data/constants/") and base.startswith(("custom_obj", "opaque_obj")):
        return "is a pickled object"
    if base.endswith("_config.json"):
        content = json.loads(archive.read(name))
        entries = content.get("config", {}) if isinstance(content, dict) else {}
        if any(_is_pickled(entry) for entry in entries.values()):
            return "asks for pickled tensors"
    elif inside.startswith("models/") and base.endswith(".json"):
        return next(_bad_strings(json.loads(archive.read(name))), "")
    elif inside.startswith("data/") and base.endswith((".pt", ".pkl")):
        return "" if _is_plain(archive.read(name)) else "is a pickle of more than tensors"
    return ""


def _is_pickled(entry: object) -> bool:
    if not isinstance(entry, dict):
        return True
    path = str(entry.get("path_name", ""))
    return entry.get("use_pickle") is not False or path.startswith(("custom_obj", "opaque_obj"))


def _is_plain(content: bytes) -> bool:
    """Whether the restricted loader takes it; torch would otherwise fall back to the unrestricted one."""
    import io

    if not content:
        return True
    try:
        load_plain(io.BytesIO(content))
    except READ_ERRORS:
        return False
    return True


def _bad_strings(tree: object) -> Iterator[str]:
    """Operators and shape expressions in the program's JSON that no exported network has."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += node.values()
            yield from (
                f"runs {guard[:80]!r}" for guard in node.get("guards_code") or () if not _is_guard(guard)
            )
            for key in ("target", "as_operator"):
                target = node.get(key)
                if isinstance(target, str) and not _is_operator(target):
                    yield f"calls {target[:80]!r}"
            expression = node.get("expr_str")
            if isinstance(expression, str) and not _is_shape(expression):
                yield f"evaluates {expression[:80]!r}"


def _is_operator(target: str) -> bool:
    # Parameters and buffers are also "targets"; torch resolves only these prefixes.
    if not target.startswith(("torch", "math", "_operator", "#")):
        return True
    return bool(_OPERATOR.fullmatch(target)) and not target.startswith(_LOADERS)


def _is_guard(code: object) -> bool:
    """torch compiles these strings; a comparison of sizes calls nothing but size()."""
    if not isinstance(code, str) or "__" in code or not re.fullmatch(r"[\w\s\[\]'().=<>!+\-*/%]*", code):
        return False
    return all(name == "size" for name in re.findall(r"(\w*)\s*\(", code))


def _is_shape(expression: str) -> bool:
    words = re.findall(r"[A-Za-z_]\w*", expression)
    known = all(word in _SYMBOLS or re.fullmatch(r"[a-z]{1,2}\d+", word) for word in words)
    return known and bool(re.fullmatch(r"[\w\s+\-*/%(),<>=&|'\".]*", expression)) and "._" not in expression
