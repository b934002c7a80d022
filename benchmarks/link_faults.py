"""A board's link, processes, disk and keys go at random moments of push, measurement and pull: what becomes of results?

usage: python benchmarks/link_faults.py [--times 20] [--only NAME,…] [--freeze 30] [--seed 0]
The board is a real sshd on this machine behind a proxy that can be cut. Its restart is a fake: all processes of the
job die, sshd goes for two seconds, and the file that tells starts apart changes (FakeBootId). Root is needed for the
full disk, a small tmpfs.

Every trial has samples of its own, and its outputs must equal those of the local device to the last bit. Counted:
    right    the result came in the same call
    told     the call ended with one line, and the same call again gave the right result
    lost     not even then; wrong: other outputs; doubled: a job ran again, or was left behind, and nothing said so
    hung     no end within the stated time-outs
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import show
from link import Proxy
from ssh_bench import make_model

from edgekit.devices import LocalDevice
from edgekit.devices.ssh import SshDevice
from edgekit.errors import EdgekitError
from edgekit.testing.sshd import Sshd, make_key

PATIENCE_S, JOB_S = 90.0, 60.0
HUNG_S = 2 * (PATIENCE_S + JOB_S)
SAMPLES = 200
DISK = "48m"


@dataclass
class Trial:
    """One job and all that may befall it. `there`: the work folder on the board."""

    board: Sshd
    proxy: Proxy
    folder: Path
    freeze_s: float
    chance: random.Random
    later: list[threading.Timer] = field(default_factory=list)

    @property
    def there(self) -> Path:
        return self.folder / "there"

    def after(self, seconds: float, action: Callable[[], Any]) -> None:
        timer = threading.Timer(seconds, action)
        self.later.append(timer)
        timer.start()

    def device(self, name: str = "here") -> SshDevice:
        inside = self.folder / "inside"  # two at once would meet: mkdir fails
        ran = ("sh", "-c", f"mkdir {inside} && echo >> {self.folder / 'ran'}")
        address = self.board.address(
            self.there, port=self.proxy.port, before=(ran,), after=(("rm", "-rf", str(inside)),)
        )
        return SshDevice(
            address,
            self.folder / name,
            patience_s=PATIENCE_S,
            lock_folder=str(self.folder),
            boot_id_file=str(self.folder / "FakeBootId"),
        )

    def processes(self) -> list[int]:
        """Keeper, runner and workers of what runs there."""
        roots = []
        for alive in self.there.glob("jobs/*/alive"):
            with contextlib.suppress(OSError, ValueError):
                roots.append(int(json.loads(alive.read_text())["pid"]))
        grown = list(roots)
        for pid in grown:
            with contextlib.suppress(OSError):
                grown += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return [pid for pid in grown if Path(f"/proc/{pid}").exists()]


# ---- faults: each gives whether there was something to strike ----------------------------------------------


def cut_link(trial: Trial) -> bool:
    trial.proxy.cut()
    trial.after(trial.chance.uniform(0.5, 4.0), trial.proxy.mend)
    return True


def kill_sshd(trial: Trial) -> bool:
    trial.board.stop()
    trial.after(2.0, trial.board.start)
    return True


def freeze(trial: Trial) -> bool:
    """The link, or the processes of the job."""
    pids = trial.processes()
    if pids and trial.chance.random() < 0.5:
        signal_all(pids, signal.SIGSTOP)
        trial.after(trial.freeze_s, lambda: signal_all(pids, signal.SIGCONT))
    else:
        trial.proxy.freeze()
        trial.after(trial.freeze_s, trial.proxy.mend)
    return True


def kill_runner(trial: Trial) -> bool:
    pids = trial.processes()
    if pids:
        signal_all([trial.chance.choice(pids)], signal.SIGKILL)
    return bool(pids)


def remove_folder(trial: Trial) -> bool:
    if trial.there.exists():
        shutil.rmtree(trial.there, ignore_errors=True)
        return True
    return False


def fill_disk(trial: Trial) -> bool:
    filler = trial.there / "jobs"
    if not filler.is_dir():
        return False
    with contextlib.suppress(OSError), (trial.there / "FakeOther").open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    return True


def change_key(trial: Trial) -> bool:
    """Another board answers in its place until the call has ended."""
    key, kept = trial.board.folder / "host_key", trial.folder / "kept_key"
    trial.board.stop()
    key.rename(kept)
    Path(f"{key}.pub").rename(f"{kept}.pub")
    make_key(key)
    trial.board.start()
    return True


def restart(trial: Trial) -> bool:
    pids = trial.processes()
    (trial.folder / "FakeBootId").write_text("second")
    trial.board.stop()
    signal_all(pids, signal.SIGKILL)
    shutil.rmtree(trial.folder / "inside", ignore_errors=True)  # as a real one resets what commands had set
    trial.after(2.0, trial.board.start)
    return bool(pids)


def nothing(trial: Trial) -> bool:
    return True


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


FAULTS: Mapping[str, Callable[[Trial], bool]] = {
    "link cut and restored": cut_link,
    "sshd killed": kill_sshd,
    "board or link frozen": freeze,
    "runner killed": kill_runner,
    "work folder removed": remove_folder,
    "disk full": fill_disk,
    "two edgekits": nothing,
    "host key changed": change_key,
    "board restarted (fake)": restart,
}


# ---- trials ------------------------------------------------------------------------------------------------


def outputs_of(device: Any, model: Path, samples: Path, back: Path) -> tuple[np.ndarray, list[str]]:
    """Push, measure, pull. Raises EdgekitError, also where the entry failed."""
    device.push([(model, "run/0/net.onnx"), (samples, "run/samples.npy")])
    evaluate = {"inputs": {"input": "run/samples.npy"}, "outputs": "run/0/outputs"}
    entry = {"id": "net", "runtime": "onnxruntime", "path": "run/0/net.onnx", "evaluate": evaluate}
    job = {"schema": 1, "rounds": 4, "seconds": 1.0, "warmup_s": 0.2, "entries": [entry]}
    result = device.run(job, timeout_s=JOB_S)
    if result["entries"]["net"]["status"] != "ok":
        raise EdgekitError(f"the entry failed: {result['entries']['net']['cause']}")
    (path,) = device.pull(list(result["entries"]["net"]["outputs"].values()), back)
    return np.load(path, allow_pickle=False), result["notes"]


def attempt(
    trial: Trial, name: str, model: Path, samples: Path, expected: np.ndarray
) -> tuple[str, str, list[str]]:
    """(right, wrong, error or hung, what was told, notes) of one call, in a thread that may hang."""
    answer = ["hung", "", []]

    def call() -> None:
        device = trial.device(name)
        try:
            outputs, answer[2] = outputs_of(device, model, samples, trial.folder / name)
            answer[0] = "right" if np.array_equal(outputs, expected) else "wrong"
        except EdgekitError as error:
            answer[0], answer[1] = "error", str(error)
        except Exception as error:  # noqa: BLE001 (a trial's own outcome)
            answer[0], answer[1] = "crash", f"{type(error).__name__}: {error}"
        finally:
            device.close()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(HUNG_S)
    return answer[0], answer[1], answer[2]


def try_once(name: str, trial: Trial, model: Path, moment_s: float) -> dict[str, Any]:
    """One trial's row; where the fault came when there was nothing to strike, only how long the call took."""
    samples = trial.folder / "samples.npy"
    rng = np.random.default_rng(trial.chance.getrandbits(32))
    np.save(samples, rng.random((SAMPLES, 3, 64, 64), dtype=np.float32))
    expected, _ = outputs_of(LocalDevice(trial.folder / "local"), model, samples, trial.folder / "local-back")
    (trial.folder / "FakeBootId").write_text("first")
    struck: list[bool] = []
    trial.after(moment_s, lambda: struck.append(FAULTS[name](trial)))
    second: list[Any] = []
    other = threading.Thread(
        target=lambda: second.append(attempt(trial, "second", model, samples, expected)), daemon=True
    )
    if name == "two edgekits":
        trial.after(moment_s, other.start)
    began = time.monotonic()
    how, told, notes = attempt(trial, "here", model, samples, expected)
    wall_s = time.monotonic() - began
    for timer in trial.later:
        timer.join(HUNG_S)
    if other.ident is not None:
        other.join(HUNG_S)
    trial.proxy.mend()
    if name == "host key changed":
        restore_key(trial)
    (trial.there / "FakeOther").unlink(missing_ok=True)
    if how == "right" and struck[:1] != [True]:
        return {"wall_s": wall_s}
    row = {"moment_s": round(moment_s, 1), "outcome": how, "said": told, "notes": notes, "wall_s": wall_s}
    if how in ("error", "crash"):
        again = attempt(trial, "again", model, samples, expected)
        row["outcome"] = "told" if how == "error" and again[0] == "right" else "lost"
        row["again"] = again[:2]
    if second and second[0][0] != "right":
        row.update(outcome="lost", said=f"the second: {second[0][:2]}")
    row["doubled"] = is_doubled(trial, row, len(second))
    return row


def is_doubled(trial: Trial, row: Mapping[str, Any], others: int) -> bool:
    """Whether more jobs ran than results and sentences account for, or one was left behind."""
    log = trial.folder / "ran"
    ran = len(log.read_text().splitlines()) if log.exists() else 0
    excused = sum("measured anew" in note for note in row["notes"])
    allowed = 1 + others + excused + (row["outcome"] in ("told", "lost"))
    left = [path for path in trial.there.glob("jobs/*") if not path.name.startswith(".")]
    return ran > allowed or bool(left)


def restore_key(trial: Trial) -> None:
    kept = trial.folder / "kept_key"
    if kept.exists():
        trial.board.stop()
        kept.rename(trial.board.folder / "host_key")
        Path(f"{kept}.pub").rename(trial.board.folder / "host_key.pub")
        trial.board.start()


@contextlib.contextmanager
def small_disk(folder: Path, wanted: bool) -> Any:
    """The work folder as a small disk."""
    folder.mkdir()
    if wanted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        if wanted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def run_fault(
    name: str, options: argparse.Namespace, work: Path, board: Sshd, proxy: Proxy
) -> dict[str, Any]:
    chance = random.Random(f"{options.seed} {name}")
    model, rows, whole_s = make_model(work / "net.onnx"), [], 12.0
    for number in range(10 * options.times):
        folder = work / f"{'-'.join(re.findall('[a-z]+', name))}-{number}"
        folder.mkdir()
        trial = Trial(board, proxy, folder, options.freeze, chance)
        moment_s = chance.uniform(0.0, whole_s)
        with small_disk(trial.there, name == "disk full"):
            row = try_once(name, trial, model, moment_s)
        shutil.rmtree(folder, ignore_errors=True)
        if "outcome" not in row:
            if moment_s > row["wall_s"]:  # it was done before: draw from a shorter time
                whole_s = max(1.0, 0.9 * whole_s)
            continue
        rows.append(row)
        print(name, len(rows), json.dumps(row), file=sys.stderr, flush=True)
        if len(rows) == options.times:
            break
    counts = Counter(row["outcome"] for row in rows)
    kinds = {kind: counts[kind] for kind in ("right", "told", "lost", "wrong", "hung")}
    longest_s = round(max(row["wall_s"] for row in rows), 1)
    doubled = sum(row["doubled"] for row in rows)
    return {"times": len(rows), **kinds, "doubled": doubled, "longest_s": longest_s}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--only", default="", help="names of faults, with commas between")
    parser.add_argument("--freeze", type=float, default=30.0, help="seconds of a freeze")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = [name for name in FAULTS if not options.only or name in options.only.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        board = Sshd(work / "sshd")
        proxy = Proxy(board.port)
        board.know(proxy.port)
        os.environ["HOME"] = str(board.home)
        table = {name: run_fault(name, options, work, board, proxy) for name in names}
        board.stop()
    show("link faults", {"freeze_s": options.freeze, "patience_s": PATIENCE_S, "faults": table})


if __name__ == "__main__":
    main()
