"""A real sshd on this machine, with keys and a configuration of its own: a board for tests and benchmarks."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from edgekit.devices.address import Address

__all__ = ["NoSshd", "Sshd", "make_key"]

SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if os.path.exists("/usr/sbin/sshd") else None)
USER = getpass.getuser()

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized
PidFile {folder}/sshd.pid
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
"""


class NoSshd(Exception):
    """No sshd is here, or it does not start; says why."""


def make_key(path: Path) -> Path:
    """A key without a passphrase at `path`, its public half beside it."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class Sshd:
    """`folder`, made here, holds its keys; `home` is what HOME should be for those who connect: it knows the host."""

    def __init__(self, folder: Path) -> None:
        """Make the keys and start it. Raises NoSshd."""
        if SSHD is None or shutil.which("ssh-keygen") is None:
            raise NoSshd("no sshd is here: apt-get install openssh-server")
        self.folder = folder
        self.port = free_port()
        self.home = folder / "home"
        (self.home / ".ssh").mkdir(parents=True)
        make_key(folder / "host_key")
        self.key = make_key(folder / "user_key")
        shutil.copyfile(f"{self.key}.pub", folder / "authorized")
        (folder / "config").write_text(CONFIG.format(port=self.port, folder=folder))
        self.know()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def know(self, *ports: int) -> None:
        """The user's known hosts hold the key that sshd has, for its port and those that lead to it."""
        words = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        lines = [f"[127.0.0.1]:{port} {words}\n" for port in (self.port, *ports)]
        (self.home / ".ssh" / "known_hosts").write_text("".join(lines))

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)  # where it locks itself in
        command = [str(SSHD), "-D", "-e", "-f", str(self.folder / "config")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise NoSshd(f"sshd does not start here: {(self.folder / 'log').read_text()[-300:]}")

    def sessions(self) -> list[int]:
        """The processes that serve connections."""
        assert self.process is not None
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
        serving: list[int] = []
        grown = {self.process.pid}
        while grown:
            grown = {pid for pid, parent in parents.items() if parent in grown}
            serving += [pid for pid in grown if _command(pid).startswith("sshd")]
        return serving

    def cut(self) -> None:
        """All its connections end, as when the cable is pulled and the kernel has noticed."""
        for pid in self.sessions():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def stop(self) -> None:
        self.cut()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def address(self, work: Path, **changes: object) -> Address:
        """The board with its work folder at `work`."""
        given: dict[str, object] = {
            "name": "pi", "host": "127.0.0.1", "port": self.port, "user": USER, "key": str(self.key),
            "python": sys.executable, "folder": str(work),
        }  # fmt: skip
        return Address(**{**given, **changes})  # type: ignore[arg-type]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
