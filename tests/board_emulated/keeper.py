"""Holds an emulated board: its network and its disk live as long as this process, and vanish with it.

Started by board.py in fresh mount and network namespaces: keeper.py SPEC.json. Takes one order a connection on the
socket `control` beside the spec, a line of JSON each way. Because all that a board has hangs on these namespaces,
nothing is left over however this process ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
INIT = Path(__file__).with_name("init.py")
FILLING = "filling.bin"


def die_with_parent(number: int = signal.SIGKILL) -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


class Keeper:
    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.folder, self.spec = folder, spec
        self.root = folder / "root"
        self.board: subprocess.Popen[bytes] | None = None

    def mount_disk(self) -> None:
        """The shared root below, never written; above it a small disk of this board's own."""
        disk = self.folder / "disk"
        for place in (disk, self.root):
            place.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={self.spec['disk_bytes']}", "tmpfs", str(disk))
        for place in (disk / "upper", disk / "work"):
            place.mkdir()
        layers = f"lowerdir={self.spec['lower']},upperdir={disk / 'upper'},workdir={disk / 'work'}"
        _run("mount", "-t", "overlay", "-o", layers, "overlay", str(self.root))

    def write_model(self) -> None:
        """What the board calls itself, and its CPUs, where its empty /sys has room; /proc is this kernel's own."""
        told = {
            "firmware/devicetree/base/model": self.spec["model"],
            "devices/virtual/dmi/id/product_name": self.spec["model"],
            **{
                f"devices/system/cpu/{name}": f"0-{(os.cpu_count() or 1) - 1}"
                for name in ("possible", "present", "online")
            },
        }
        for name, text in told.items():
            (self.root / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / "sys" / name).write_text(text + "\n")

    def write_keys(self, host_key: bool = True, user_key: bool = True) -> None:
        """The board's own key, and whom it lets in: the user's key, or nobody."""
        etc = self.root / "etc/ssh"
        if host_key:
            for suffix in ("", ".pub"):
                shutil.copyfile(self.folder / f"host_key{suffix}", etc / f"ssh_host_ed25519_key{suffix}")
            (etc / "ssh_host_ed25519_key").chmod(0o600)
        allowed = (self.folder / "user_key.pub").read_text() if user_key else ""
        for home, owner in ((self.root / "home" / self.spec["user"], 1000), (self.root / "root", 0)):
            file = home / ".ssh/authorized_keys"
            file.write_text(allowed)
            file.chmod(0o600)
            os.chown(file, owner, owner)

    def boot(self) -> None:
        """Start the board's processes; the network must be there."""
        if self.board is not None and self.board.poll() is None:
            raise RuntimeError("the board runs already")
        _run("ip", "link", "set", "lo", "up")
        shown = subprocess.run(
            ["ip", "-4", "address", "show", "eth0"], capture_output=True, text=True, check=True
        )
        if self.spec["address"] not in shown.stdout:
            _run("ip", "address", "add", self.spec["address"], "dev", "eth0")
        program = [
            "unshare", "--pid", "--uts", "--ipc", "--mount", "--fork", "--kill-child=SIGKILL", "--propagation",
            "private", "--", sys.executable, str(INIT), str(self.root), self.spec["hostname"], self.spec["cpu"],
        ]  # fmt: skip
        with (self.folder / "board.log").open("ab") as log:
            self.board = subprocess.Popen(
                program, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        self.restore()

    def halt(self) -> None:
        """End every process of the board at once, as a power cut does; the disk stays."""
        if self.board is None:
            return
        self.board.kill()  # unshare ignores SIGTERM; its child, the board's PID 1, dies with it
        self.board.wait()
        deadline = time.monotonic() + 10
        while list(self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.board = None

    def reboot(self, down_s: float = 1.0, tells: bool = True) -> None:
        """Halt and boot. With `tells` sshd closes its connections; else the other side hears nothing of it."""
        if not tells:
            self.cut()
        self.halt()
        self.cut()
        time.sleep(down_s)
        self.boot()

    def cut(self) -> None:
        _run("ip", "link", "set", "eth0", "down")

    def restore(self) -> None:
        _run("ip", "link", "set", "eth0", "up")

    def processes(self) -> Iterator[tuple[int, str]]:
        """(pid, command line) of all that run in the board's PID namespace, PID 1 first."""
        if self.board is None:
            return
        here = (os.readlink("/proc/self/ns/pid"), os.readlink("/proc/self/ns/net"))
        for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                spaces = [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "net")]
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                if spaces[0] != here[0] and spaces[1] == here[1]:  # other boards have another network
                    yield pid, words.decode(errors="replace").strip()

    def freeze(self) -> None:
        """SIGSTOP for all, until none is left that was started meanwhile."""
        while any(_state(pid) not in "TZX" for pid, _ in self.processes()):
            for pid, _ in self.processes():
                _signal(pid, signal.SIGSTOP)
            time.sleep(0.01)

    def thaw(self) -> None:
        for pid, _ in self.processes():
            _signal(pid, signal.SIGCONT)

    def kill(self, text: str) -> int:
        """SIGKILL for the processes with this in their command line, never PID 1; gives how many."""
        victims = [pid for pid, words in self.processes() if text in words and str(INIT) not in words]
        for pid in victims:
            _signal(pid, signal.SIGKILL)
        return len(victims)

    def start_sshd(self) -> None:
        pid = next((pid for pid, words in self.processes() if str(INIT) in words), None)
        if pid is None:
            raise RuntimeError("the board does not run")
        _signal(pid, signal.SIGUSR1)

    def fill_disk(self, leave_bytes: int = 0) -> int:
        """Take all room but this; gives what is left, in bytes."""
        disk = self.folder / "disk"
        free = shutil.disk_usage(disk).free
        with (disk / FILLING).open("ab") as file, contextlib.suppress(OSError):
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, max(free - leave_bytes, 1))
        if not leave_bytes:
            with contextlib.suppress(OSError), (disk / FILLING).open("ab") as file:
                while file.write(b"\0" * 4096):
                    file.flush()
        return shutil.disk_usage(disk).free

    def free_disk(self) -> None:
        (self.folder / "disk" / FILLING).unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        """Remove a folder or file of the board: an absolute path there."""
        place = self.root / Path(path).relative_to("/")
        if not place.resolve().is_relative_to(self.root) or place.resolve() == self.root:
            raise RuntimeError(f"{path} is not inside the board")
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)

    def list_processes(self) -> list[list[object]]:
        return [[pid, words] for pid, words in self.processes()]

    def end(self) -> None:
        self.halt()
        for place in (self.root, self.folder / "disk"):
            subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


ORDERS = frozenset((
    "boot", "halt", "reboot", "cut", "restore", "freeze", "thaw", "kill", "start_sshd", "fill_disk", "free_disk",
    "delete", "write_keys", "list_processes",
))  # fmt: skip


def serve(keeper: Keeper) -> None:
    """Obey until the order `end`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(keeper.folder / "control"))
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as file:
                order = json.loads(file.readline() or "{}")
                if order.get("do") == "end":
                    keeper.end()
                    file.write('{"value": null}\n')
                    return
                with contextlib.suppress(BrokenPipeError):
                    file.write(json.dumps(_obey(keeper, order)) + "\n")
                    file.flush()


def _obey(keeper: Keeper, order: dict[str, Any]) -> dict[str, Any]:
    if order.get("do") not in ORDERS:
        return {"error": f"no order {order.get('do')!r}"}
    try:
        return {"value": getattr(keeper, order["do"])(**order.get("with", {}))}
    except subprocess.CalledProcessError as problem:
        return {"error": f"{problem} {problem.stderr or ''}"}
    except (OSError, RuntimeError, TypeError, ValueError) as problem:
        return {"error": f"{type(problem).__name__}: {problem}"}


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _state(pid: int) -> str:
    """The state letter of /proc/PID/stat; X for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def main(file: Path) -> None:
    spec = json.loads(file.read_text())
    if spec["parent"] is not None:
        die_with_parent(signal.SIGTERM)
        if os.getppid() != spec["parent"]:
            return  # it died before it could be watched
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests; they order the end
    keeper = Keeper(file.parent, spec)
    ordered = False
    try:
        keeper.mount_disk()
        keeper.write_model()
        keeper.write_keys()
        serve(keeper)
        ordered = True
    finally:
        keeper.end()
        if not ordered:  # nobody else will
            shutil.rmtree(file.parent, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
