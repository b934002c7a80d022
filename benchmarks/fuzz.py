"""Damaged and hostile files for every loader, for as long as you like: prints what is neither loaded nor refused.

    python benchmarks/fuzz.py --minutes 10 --seed 0 [--loader npz]

Each find stands with the seed that makes the same file again: --seed THAT --files 1. Files of .onnx and .pt2, which a
worker opens, are in tests/test_fuzz.py. Ends with 1 when something was found.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from edgekit.testing.fuzzing import LOADERS, complaint


def main() -> int:
    """Loader after loader, seed after seed, until the time is over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first file of each loader")
    parser.add_argument("--files", type=int, help="so many of each loader at most")
    parser.add_argument("--loader", choices=sorted(LOADERS), action="append")
    options = parser.parse_args()
    names = options.loader or sorted(LOADERS)
    deadline, seed, found = time.monotonic() + 60 * options.minutes, options.seed, 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < deadline and (options.files is None or seed < options.seed + options.files):
            for name in names:
                content = LOADERS[name].damaged(random.Random(f"{name} {seed}"))
                problem = complaint(LOADERS[name], content, Path(folder))
                if problem:
                    found += 1
                    print(f"--loader {name!r} --seed {seed} --files 1: {problem}", flush=True)
            seed += 1
    print(f"{seed - options.seed} files of each of {len(names)} loaders; {found} neither loaded nor refused")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
