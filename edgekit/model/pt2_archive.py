"""A `.pt2` archive (torch.export) read once, checked, and written anew: torch opens nothing but what was checked.

`torch.export.load` (2.13) unpickles without restriction whatever the archive marks as a pickled or custom
object, falls back to an unrestricted load where a restricted one fails, evaluates shapes and guards as code,
looks up operators by dotted name anywhere under `torch`, and loads compiled AOTInductor libraries. A
plain network needs none of that: an archive that asks for it is refused here. What remains is JSON and raw
tensors. This list was drawn up against torch 2.13; a later torch may bring new ways.

Two readers of one zip can see two archives: two members of one name, names that differ in case only, two
directories. So the file itself is never given to torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import ModelError
from edgekit.model.weights import READ_ERRORS, load_plain

__all__ = ["fresh_archive"]

MODEL = "models/model.json"
CONFIGS = {
    "data/weights/model_weights_config.json": re.compile(r"weight_[0-9]+"),
    "data/constants/model_constants_config.json": re.compile(r"tensor_[0-9]+"),
}
"""Member → the names of the members beside it that its tensors lie in."""

TENSOR = re.compile(r"data/(?:weights/weight|constants/tensor)_[0-9]+")
SAMPLES = "data/sample_inputs/model.pt"
WRITTEN_ANEW = {
    "archive_format": b"pt2",
    "archive_version": b"0",
    "byteorder": b"little",
    ".data/version": b"6\n",
}
IGNORED = frozenset({".data/serialization_id", ".format_version", ".storage_alignment", "version", SAMPLES})
LONGEST_NAME = 80

_DUNDERS = r"__i?(?:and|or|xor|lshift|rshift)__"
_OPERATOR = re.compile(
    rf"torch\.ops(?:\.(?:(?!__)\w+|{_DUNDERS})){{2,3}}"
    r"|torch\.sym_[a-z]+"
    r"|math\.(?:ceil|floor|trunc|sqrt|pow)"
    r"|_operator\.(?:getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|pos|eq|ne|lt|le|gt|ge|and_|or_|xor|not_)"
)
_UNUSED = frozenset({"guards_code", "metadata"})
_FREE_TEXT = frozenset({"as_string", "as_strings", "expr_str", "in_spec", "out_spec"})
# torch writes names into source code and compiles it: nothing in them may call, assign or quote.
_PLAIN_TEXT = re.compile(r"[\w.+\-/: #]*")
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
_TOUCHING_FILES = ("torch.ops.aten.save", "torch.ops.aten.from_file", "torch.ops.debugprims")


def fresh_archive(path: Path, digest: str = "") -> io.BytesIO:
    """The program of `path` as an archive of its checked members, one of each name, and no pickle.

    Sample inputs and extra files are left out: the network does not need them. Raises ModelError with one line for an
    archive that is damaged, that would make torch run code, or that holds more than torch.export.save writes, and for a
    file whose SHA-256 is not `digest`, where one is given: the bytes that are read are those that are hashed.
    """
    try:
        content = path.read_bytes()
        if digest and hashlib.sha256(content).hexdigest() != digest:
            raise ModelError(f"{path} was changed while it was read", remedy="run the command again")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _rewritten(path, archive)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, RecursionError) as error:
        raise ModelError(f"{path} is not a readable .pt2 program: {error}") from error


def _rewritten(path: Path, archive: zipfile.ZipFile) -> io.BytesIO:
    members = archive.infolist()
    root = members[0].filename.partition("/")[0] if members else ""
    names = [member.filename for member in members]
    if f"{root}/archive_format" not in names:
        raise ModelError(
            f"{path} is not a .pt2 program of torch 2.8 or later",
            remedy="save it again with torch.export.save",
        )
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ModelError(f"{path} was not loaded: its members are larger than the file")
    written: set[str] = set()
    fresh = io.BytesIO()
    with zipfile.ZipFile(fresh, "w") as target:
        for member in members:
            folder, _, name = member.filename.partition("/")
            problem = "lies outside of the archive's folder" if folder != root else ""
            problem = problem or ("is there twice" if name in written else "")
            problem = problem or ("is compressed" if member.compress_type != zipfile.ZIP_STORED else "")
            content = b"" if problem else archive.read(member)
            problem = problem or _problem(name, content)
            if problem:
                raise ModelError(
                    f"{path} was not loaded: {member.filename[:LONGEST_NAME]!r} {problem}",
                    allowed="a plain torch.export program",
                    remedy="this can run code; save it again with torch.export.save",
                )
            written.add(name)
            if name == MODEL:
                # Guards are code, and only tell of inputs that the network was not exported for.
                content = json.dumps(_without_unused(json.loads(content))).encode()
            elif name in CONFIGS:  # as it was read here, should it hold a key twice
                content = json.dumps(json.loads(content)).encode()
            if name == MODEL or name in CONFIGS or TENSOR.fullmatch(name):
                target.writestr(f"network/{name}", content)
        for name, content in {**WRITTEN_ANEW, SAMPLES: b""}.items():
            target.writestr(f"network/{name}", content)
    fresh.seek(0)
    return fresh


def _problem(name: str, content: bytes) -> str:
    """What is wrong with one member; empty when nothing is."""
    base = name.rsplit("/", 1)[-1]
    if name.startswith(("data/aotinductor/", "data/executorch/", "data/mtia/")):
        return "is compiled code"
    if name.startswith("data/constants/") and base.startswith(("custom_obj", "opaque_obj")):
        return "is a pickled object"
    if name.startswith("data/") and base.endswith((".pt", ".pkl")):
        if not _is_plain(content):
            return "is a pickle of more than tensors"
        return "" if name == SAMPLES else "holds pickled weights"
    if name in CONFIGS:
        return _config_problem(json.loads(content), CONFIGS[name])
    if name == MODEL:
        program = json.loads(content)
        return next(_bad_strings(program), "") if isinstance(program, dict) else "is no program"
    if name in WRITTEN_ANEW:
        return "" if content.strip() == WRITTEN_ANEW[name].strip() else f"holds {content[:20]!r}"
    if TENSOR.fullmatch(name) or name in IGNORED or name.startswith("extra/"):
        return ""
    return "is no part of a program that torch.export.save writes"


def _config_problem(content: object, places: re.Pattern[str]) -> str:
    entries = content.get("config") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        return "lists no tensors"
    for entry in entries.values():
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            return "asks for pickled tensors"
        if not places.fullmatch(str(entry.get("path_name", ""))):
            return f"refers to {str(entry.get('path_name', ''))[:LONGEST_NAME]!r}"
    return ""


def _is_plain(content: bytes) -> bool:
    """Whether the restricted loader takes it; torch would otherwise fall back to the unrestricted one."""
    if not content:
        return True
    try:
        load_plain(io.BytesIO(content))
    except READ_ERRORS:
        return False
    return True


def _bad_strings(tree: object) -> Iterator[str]:
    """Operators, shape expressions, names and tree forms in the program's JSON that no exported network has."""
    pending: list[tuple[str, object]] = [("", tree)]
    while pending:
        key, node = pending.pop()
        if isinstance(node, list):
            pending += [(key, value) for value in node]
        elif isinstance(node, dict):
            pending += [("", name) for name in node]
            pending += [(name, value) for name, value in node.items() if name not in _UNUSED]
            guards = node.get("guards_code") or []
            lines = guards if isinstance(guards, list) else [guards]
            yield from (f"runs {str(line)[:80]!r}" for line in lines if not _is_guard(line))
        elif isinstance(node, str):
            if key in ("target", "as_operator") and not _is_operator(node):
                yield f"calls {node[:80]!r}"
            elif key == "expr_str" and not _is_shape(node):
                yield f"evaluates {node[:80]!r}"
            elif key in ("in_spec", "out_spec") and not _is_tree_form(node):
                yield f"has inputs or outputs of the form {node[:80]!r}"
            elif key not in _FREE_TEXT and not _PLAIN_TEXT.fullmatch(node):
                yield f"holds the name {node[:80]!r}"


def _is_tree_form(text: str) -> bool:
    """Tuples, lists and dicts of tensors; torch imports what other types name."""
    kinds: set[object] = set()
    pending: list[object] = [json.loads(text)] if text else []
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            kinds.add(node.get("type"))
            pending += [value for name, value in node.items() if name not in ("type", "context")]
            if not re.fullmatch(r"[^\\()=]*", str(node.get("context"))):
                return False
    return kinds <= {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def _without_unused(tree: object) -> object:
    """The program without guards, and without what only people read."""
    if isinstance(tree, list):
        return [_without_unused(value) for value in tree]
    if isinstance(tree, dict):
        return {
            name: type(value)() if name in _UNUSED else _without_unused(value) for name, value in tree.items()
        }
    return tree


def _is_operator(target: str) -> bool:
    # Parameters and buffers are also "targets"; torch resolves only these prefixes.
    if not target.startswith(("torch", "math", "_operator", "#")):
        return True
    return bool(_OPERATOR.fullmatch(target)) and not target.startswith((*_LOADERS, *_TOUCHING_FILES))


def _is_guard(code: object) -> bool:
    """torch compiles these strings; a comparison of sizes calls nothing but size()."""
    if not isinstance(code, str) or "__" in code or not re.fullmatch(r"[\w\s\[\]'().=<>!+\-*/%]*", code):
        return False
    return all(name == "size" for name in re.findall(r"(\w*)\s*\(", code))


def _is_shape(expression: str) -> bool:
    words = re.findall(r"[A-Za-z_]\w*", expression)
    known = all(word in _SYMBOLS or re.fullmatch(r"[a-z]{1,2}\d+", word) for word in words)
    return known and bool(re.fullmatch(r"[\w\s+\-*/%(),<>=&|'\".]*", expression)) and "._" not in expression
