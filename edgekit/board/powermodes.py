"""Power modes of a board: a Jetson's nvpmodel, else the governors of cpufreq. What was found is always put back.

What was found is on disk before anything is changed. A guard, a process of its own, puts it back when the one that
holds a mode ends in whatever way; where the guard was ended too, the next job on the board does.
"""

import contextlib
import os
import re
import subprocess
import sys
from typing import Any, Dict, Iterator, List

from .files import read_json, read_text, write_json
from .process import command
from .sensors import power_modes

NVPMODEL = ("usr/sbin/nvpmodel", "usr/bin/nvpmodel")
STATUS, CONF = "var/lib/nvpmodel/status", "etc/nvpmodel.conf"
LEFT_OUT = ("userspace",)  # a governor that leaves the clock to whoever sets it
SET_S = 60.0


class PowerError(ValueError):
    """A mode that cannot be set, in one line."""


class PowerModes(object):
    """The modes of the board whose files lie below `root`. `names`: in its order; `kind`: nvpmodel or governor."""

    def __init__(self, root: str = "/") -> None:
        self.root = root
        self.program = next(filter(os.path.exists, (self.at(path) for path in NVPMODEL)), "")
        self.numbers = {name: number for number, name in power_modes(read_text(self.at(CONF))).items()}
        self.kind = "nvpmodel" if self.program and self.numbers else "governor"
        self.names = list(self.numbers) if self.kind == "nvpmodel" else self._governors()

    def at(self, path: str) -> str:
        return os.path.join(self.root, path)

    def _files(self) -> List[str]:
        """scaling_governor of each CPU."""
        folder = self.at("sys/devices/system/cpu")
        names = os.listdir(folder) if os.path.isdir(folder) else []
        cpus = sorted(int(name[3:]) for name in names if re.match(r"^cpu\d+$", name))
        paths = [os.path.join(folder, "cpu%d" % cpu, "cpufreq", "scaling_governor") for cpu in cpus]
        return [path for path in paths if os.path.exists(path)]

    def _governors(self) -> List[str]:
        """Those that all CPUs have."""
        offered = [
            read_text(os.path.join(os.path.dirname(path), "scaling_available_governors")).split()
            for path in self._files()
        ]
        first = offered[0] if offered else []
        return [name for name in first if name not in LEFT_OUT and all(name in names for names in offered)]

    def current(self) -> Dict[str, Any]:
        """What is set now, as `restore` takes it."""
        if self.kind == "nvpmodel":
            match = re.match(r"^pmode:(\d+)", read_text(self.at(STATUS)))
            if not match:
                raise PowerError("nvpmodel does not tell the power mode that is set")
            return {"kind": self.kind, "mode": int(match.group(1))}
        return {"kind": self.kind, "governors": {path: read_text(path) for path in self._files()}}

    def why_not(self) -> str:
        """Why there is nothing to try; "" where there is."""
        if len(self.names) < 2:
            return "this board has no power modes to choose among: no nvpmodel, and fewer than two governors"
        if self.kind == "nvpmodel":
            allowed = os.access(self.program, os.X_OK) and (os.geteuid() == 0 or self.root != "/")
        else:
            allowed = all(os.access(path, os.W_OK) for path in self._files())
        return "" if allowed else "setting the %s needs root on the board" % self._called()

    def _called(self) -> str:
        return "power mode (nvpmodel)" if self.kind == "nvpmodel" else "governor"

    def set(self, name: str) -> None:
        """Raises PowerError for a mode that there is not, or that the board does not take."""
        if name not in self.names:
            raise PowerError("no power mode %r; allowed: %s" % (name, ", ".join(self.names) or "none here"))
        if self.why_not():
            raise PowerError(self.why_not())
        if self.kind == "nvpmodel":
            self._set_number(self.numbers[name])
        else:
            for path in self._files():
                _write(path, name)

    def _set_number(self, number: int) -> None:
        try:
            done = subprocess.run(
                [self.program, "-m", str(number)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=SET_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise PowerError("nvpmodel -m %d: %s" % (number, problem)) from problem
        said = " ".join(done.stdout.decode("utf-8", "replace").split())[:200]
        if done.returncode or self.current()["mode"] != number:
            why = said or "it was not set (some modes need a reboot)"
            raise PowerError("nvpmodel -m %d: %s" % (number, why))

    def restore(self, before: Dict[str, Any]) -> None:
        """Put back what `current` gave."""
        if before["kind"] == "nvpmodel":
            if self.current()["mode"] != before["mode"]:
                self._set_number(before["mode"])
        else:
            for path, name in before["governors"].items():
                if path not in self._files():
                    raise PowerError("%s is no governor of this board" % path)
                _write(path, name)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as problem:
        raise PowerError("%s cannot be written: %s" % (path, problem.strerror)) from problem
    if read_text(path) != text:
        raise PowerError("%s did not take %s" % (path, text))


def record_path(root: str) -> str:
    """Where stands what was found, of this user."""
    home = os.path.expanduser("~") if root == "/" else root
    return os.path.join(home, ".cache", "edgekit", "power-before.json")


def restore_left(root: str = "/") -> bool:
    """Put back what an ended job left, and forget it. Whether there was anything. Raises PowerError."""
    path = record_path(root)
    if not os.path.exists(path):
        return False
    try:
        before = read_json(path)
        PowerModes(root).restore(before)
    except (OSError, KeyError, TypeError) as problem:
        raise PowerError("%s cannot be put back: %s" % (path, problem)) from problem
    os.remove(path)
    return True


@contextlib.contextmanager
def held(name: str, root: str = "/") -> Iterator[None]:
    """The board in that mode; afterwards as it was found, however this ends. Raises PowerError."""
    restore_left(root)
    modes = PowerModes(root)
    if modes.why_not():
        raise PowerError(modes.why_not())
    path = record_path(root)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_json(path, modes.current())
    guard = subprocess.Popen(
        command("restore-power", "--root", root), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert guard.stdin is not None
    try:
        modes.set(name)
        yield
    finally:
        restore_left(root)
        guard.stdin.close()
        guard.wait()


def guard_until_end(root: str) -> int:
    """The guard: waits until whoever started it has ended or is done, and puts back what is left."""
    sys.stdin.buffer.read()
    try:
        restore_left(root)
    except PowerError as problem:
        sys.stderr.write("restore-power: %s\n" % problem)
        return 2
    return 0


def told(root: str = "/") -> Dict[str, Any]:
    """For the description of a machine: {kind, names, why_not, set}.

    `set`: the number of the mode that nvpmodel has set, else None.
    """
    modes = PowerModes(root)
    number = None
    if modes.kind == "nvpmodel":
        with contextlib.suppress(PowerError):
            number = modes.current()["mode"]
    return {"kind": modes.kind, "names": modes.names, "why_not": modes.why_not(), "set": number}
