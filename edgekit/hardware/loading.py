"""Reading one target file, strictly: the types first, then what types cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgekit.errors import TargetFileError
from edgekit.files import read_toml
from edgekit.hardware.sections import Fact
from edgekit.hardware.target import Target
from edgekit.runtimes import RUNTIMES, near_runtimes

__all__ = ["facts_of", "load_target_file"]


def load_target_file(path: Path) -> Target:
    """Read and check one target file. Raises TargetFileError naming the file, the key and what is allowed."""
    content = read_toml(path, TargetFileError)
    try:
        target = msgspec.convert(content, Target)
    except msgspec.ValidationError as error:
        from edgekit.hardware.explain import explain

        key, came, allowed = explain(content, error, Target)
        raise TargetFileError(f"{path}: {key}: {came}", allowed=allowed) from error
    for index, runtime in enumerate(target.runtimes):
        if runtime.name not in RUNTIMES:
            raise TargetFileError(
                f'{path}: runtimes[{index}].name: "{runtime.name}"',
                allowed=", ".join(sorted(RUNTIMES)),
                remedy=near_runtimes(runtime.name),
            )
    for key, came, allowed in _inconsistencies(target, path):
        raise TargetFileError(f"{path}: {key}: {came}", allowed=allowed)
    return target


def facts_of(target: Target) -> Iterator[tuple[str, Fact]]:
    """Every section of the description that states facts, with its key in the file."""
    yield from _walk("", target)


def _walk(key: str, value: Any) -> Iterator[tuple[str, Fact]]:
    if isinstance(value, Fact):
        yield key, value
    if isinstance(value, msgspec.Struct):
        children = [(name, getattr(value, name)) for name in value.__struct_fields__]
    elif isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _walk(f"{key}[{index}]", item)
        return
    else:
        return
    for name, child in children:
        yield from _walk(f"{key}.{name}" if key else str(name), child)


def _inconsistencies(target: Target, path: Path) -> Iterator[tuple[str, str, str]]:
    """(key, what came, what is allowed) for what the types cannot say."""
    if target.name != path.stem:
        yield "name", f'"{target.name}"', f'the file\'s name, "{path.stem}"'
    yield from _source_faults(target)
    yield from _runtime_faults(target)
    if list(target.memory.sizes_bytes) != sorted(set(target.memory.sizes_bytes)):
        yield "memory.sizes_bytes", "the sizes are not in order", "each once, smallest first"
    if target.int8 and (target.int8[-1].all_of or target.int8[-1].any_of):
        yield (
            f"int8[{len(target.int8) - 1}]",
            "the last row asks for CPU features",
            "no any_of or all_of there",
        )
    if bool(target.int8) != ("int8" in target.precisions):
        came = "rows, but no runtime has int8" if target.int8 else "no row, but a runtime has int8"
        yield "int8", came, "rows exactly where a runtime has int8"


def _source_faults(target: Target) -> Iterator[tuple[str, str, str]]:
    used: set[str] = set()
    for key, fact in facts_of(target):
        used.update(fact.source)
        for source in fact.source:
            if source not in target.sources:
                yield f"{key}.source", f'no source "{source}"', ", ".join(target.sources)
    for source in sorted(set(target.sources) - used):
        yield f"sources.{source}", "no section names it", "sources that a section names"


def _runtime_faults(target: Target) -> Iterator[tuple[str, str, str]]:
    names = [runtime.name for runtime in target.runtimes]
    for index, runtime in enumerate(target.runtimes):
        key = f"runtimes[{index}]"
        have = ", ".join(runtime.precisions)
        if runtime.name in names[:index]:
            yield f"{key}.name", f'"{runtime.name}" stands there twice', "each runtime once"
        if len(set(runtime.precisions)) < len(runtime.precisions):
            yield f"{key}.precisions", "one stands there twice", "each precision once"
        for table, precisions in (("requires", runtime.requires), ("runs_as", runtime.runs_as)):
            for precision in precisions:
                if precision not in runtime.precisions:
                    yield f"{key}.{table}.{precision}", "this runtime does not have it", have
        for precision in runtime.rejected:
            if precision in runtime.precisions:
                yield f"{key}.rejected.{precision}", "it is in the runtime's precisions too", "one of both"
    for precision in target.rejected:
        if precision in target.precisions:
            yield f"rejected.{precision}", "a runtime of this target has it", "only what no runtime has"
