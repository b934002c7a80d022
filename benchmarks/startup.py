"""How long `edgekit --help` and `edgekit targets` take as whole processes.

usage: python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

from common import show


def seconds(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "edgekit", *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    samples: dict[str, list[float]] = {"--help": [], "targets": [], "(python -c pass)": []}
    for _ in range(11):
        samples["--help"].append(seconds("--help"))
        samples["targets"].append(seconds("targets"))
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        samples["(python -c pass)"].append(time.perf_counter() - started)
    show("start-up, seconds", {name: round(statistics.median(values), 3) for name, values in samples.items()})
