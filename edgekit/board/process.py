"""Processes of this folder's programs: how they start each other, end with each other, and read file names."""

import codecs
import os
import signal
import sys
from typing import List

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
UTF8_TRIED = "EDGEKIT_BOARD_UTF8"  # environment variable of a process that was started again


def command(*arguments: str) -> List[str]:
    """The command line of this folder's programs, by path: nothing of the working folder is imported."""
    return [sys.executable, PROGRAM] + list(arguments)


def die_with_parent(parent: int) -> None:
    """Linux: this process is killed when its parent ends, so that a killed build leaves nothing measuring."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def restart_in_utf8(program: List[str]) -> None:
    """Become `program`, this process's own command line, in a locale with UTF-8 where file names are ASCII.

    Python 3.6 without a locale can open no file whose name is not ASCII. Done once: returns where names are UTF-8
    already, or still are ASCII because the system has no locale C.UTF-8.
    """
    ascii_names = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    if ascii_names and os.name == "posix" and UTF8_TRIED not in os.environ:
        environment = dict(os.environ, LC_ALL="C.UTF-8", **{UTF8_TRIED: "1"})
        os.execve(program[0], program, environment)


def printable(text: str) -> str:
    """The text as this process's standard output can take it, where its encoding lacks a letter."""
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)
