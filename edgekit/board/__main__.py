"""Starts the commands of this folder, by `python3 -m board …` or by its path; see commands.py."""

import importlib
import importlib.util
import os
import sys
from typing import List

HERE = os.path.dirname(os.path.abspath(__file__))


def package_name() -> str:
    """Name of the package that this file belongs to; started by path, it is loaded as `board` first.

    What Python put on sys.path goes: this folder, whose tensorrt/ would hide the real one, or the working folder.
    """
    name = __package__ or "board"
    added = os.getcwd() if __package__ else HERE
    if sys.path and os.path.abspath(sys.path[0]) == added:
        del sys.path[0]
    if not __package__:
        spec = importlib.util.spec_from_file_location(
            name, os.path.join(HERE, "__init__.py"), submodule_search_locations=[HERE]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return name


def start(arguments: List[str]) -> int:
    """Run a command in a process that reads and writes every file name. Gives the exit code."""
    sys.dont_write_bytecode = True  # a bundle stays as it was written
    name = package_name()
    process = importlib.import_module(name + ".process")
    process.restart_in_utf8(process.command(*arguments))
    return int(importlib.import_module(name + ".commands").main(arguments))


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
