"""All that runs on a board: Python 3.6 or later, standard library, numpy, the board's runtime; nothing of edgekit.

The folder works where it lies: as `edgekit.board`, as `board/` in a bundle or on a device, or by its path.

    python3 -m board run JOB.json        measures; the job is explained in coordinator.py
    python3 /any/where/board describe    says what this machine is
    python3 -m board --help              the other commands

In a bundle, `from board import Model` answers samples in a service of your own; see infer.py.

Imports are relative, so the folder never looks for itself on sys.path. Importing it runs nothing.
"""

from .infer import Model

__all__ = ["Model"]
