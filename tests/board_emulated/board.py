"""One emulated board: started, reached over SSH, harmed and mended."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.board_emulated.root import USER, board_root

__all__ = ["BoardTrouble", "EmulatedBoard"]

KEEPER = Path(__file__).with_name("keeper.py")
NETWORK = ipaddress.ip_network("10.213.0.0/16")
PORT = 22
DISK_BYTES = 512 << 20
CPU, MODEL = "cortex-a72", "Raspberry Pi 4 Model B Rev 1.5"
BOOT_S = 60


class BoardTrouble(Exception):
    """The board did not start, or refused an order."""


class EmulatedBoard:
    """An arm64 Debian with sshd, reached at `host`:`port` as `user` (no rights) or root with the key in `key`.

    `known_hosts` holds its host key. Its folder, if given, is made, and stays until `stop`. A board with `parent`
    ends with the process that started it, however that one ends; without, it runs until `stop`.
    """

    port = PORT
    user = USER

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.gettempdir()) / f"edgekit-board-{os.urandom(4).hex()}"
        self.key = self.folder / "user_key"
        self.known_hosts = self.folder / "known_hosts"

    @property
    def host(self) -> str:
        return str(self._spec()["host"])

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@{self.host}:{self.port}"

    def _spec(self) -> dict[str, Any]:
        try:
            spec: dict[str, Any] = json.loads((self.folder / "spec.json").read_text())
        except FileNotFoundError as problem:
            raise BoardTrouble(f"no board in {self.folder}") from problem
        return spec

    def start(
        self,
        *,
        disk_bytes: int = DISK_BYTES,
        ends_with_parent: bool = True,
        cpu: str = CPU,
        model: str = MODEL,
    ) -> EmulatedBoard:
        """Make it and wait until it answers. `cpu`: one of QEMU's; `model`: what the board calls itself.

        Raises BoardTrouble, RootTrouble.
        """
        lower = board_root()
        self.folder.mkdir(mode=0o700, parents=True)
        here, there = _free_addresses()
        spec = {
            "lower": str(lower), "disk_bytes": disk_bytes, "address": f"{there}/30", "host": there, "user": USER,
            "hostname": "emulated-board", "parent": os.getpid() if ends_with_parent else None,
            "cpu": cpu, "model": model,
            "link": f"ek{os.urandom(4).hex()}",
        }  # fmt: skip
        (self.folder / "spec.json").write_text(json.dumps(spec))
        self._make_key("user_key")
        self._make_key("host_key")
        self._know_host_key()
        try:
            self._start_keeper(spec, here, ends_with_parent)
            self.wait_for_sshd()
        except BaseException:
            self.stop()
            raise
        return self

    def _start_keeper(self, spec: dict[str, Any], here: str, ends_with_parent: bool) -> None:
        program = ["unshare", "--mount", "--net", "--propagation", "private", "--"]
        program += [sys.executable, str(KEEPER), str(self.folder / "spec.json")]
        with (self.folder / "keeper.log").open("wb") as log:
            keeper = subprocess.Popen(
                program,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=not ends_with_parent,
            )
        self._keeper = keeper
        deadline = time.monotonic() + BOOT_S
        while not (self.folder / "control").exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                raise BoardTrouble(
                    f"the keeper did not start: {(self.folder / 'keeper.log').read_text()[-500:]}"
                )
            time.sleep(0.02)
        link = spec["link"]
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(keeper.pid))
        _run("ip", "address", "add", f"{here}/30", "dev", link)
        _run("ip", "link", "set", link, "up")
        self._order("boot")

    def stop(self) -> None:
        """End it and remove its folder; twice does no harm."""
        with contextlib.suppress(BoardTrouble):
            self._order("end")
        keeper = getattr(self, "_keeper", None)
        if keeper is not None:
            try:
                keeper.wait(10)
            except subprocess.TimeoutExpired:
                keeper.kill()
                keeper.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> EmulatedBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for_sshd(self, timeout_s: float = BOOT_S) -> None:
        """Until sshd greets. Raises BoardTrouble when it does not in that time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 2) as probe:
                probe.settimeout(5)
                if probe.recv(4) == b"SSH-":
                    return
            time.sleep(0.1)
        raise BoardTrouble(f"no sshd on {self.host} in {timeout_s:.0f} s: {self._log()}")

    def _log(self) -> str:
        files = (self.folder / name for name in ("board.log", "sshd.log"))
        return " / ".join(file.read_text(errors="replace")[-500:] for file in files if file.exists())

    def ssh(
        self, *words: str, user: str | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """A command there, as OpenSSH's own client runs it: the words are joined and read by a shell."""
        return subprocess.run(
            ["ssh", *self._options(), "-p", str(self.port), f"{user or self.user}@{self.host}", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def upload(self, *paths: Path, to: str = ".") -> None:
        """Copy files and folders there by scp. Raises BoardTrouble."""
        program = ["scp", "-r", "-q", *self._options(), "-P", str(self.port), *map(str, paths)]
        done = subprocess.run(
            [*program, f"{self.user}@{self.host}:{to}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BoardTrouble(f"scp: {done.stderr.strip()}")

    def download(self, path: str, to: Path) -> None:
        """Copy one file from there by scp. Raises BoardTrouble."""
        program = [
            "scp",
            "-q",
            *self._options(),
            "-P",
            str(self.port),
            f"{self.user}@{self.host}:{path}",
            str(to),
        ]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BoardTrouble(f"scp: {done.stderr.strip()}")

    def _options(self) -> list[str]:
        settings = {
            "BatchMode": "yes", "IdentitiesOnly": "yes", "IdentityFile": str(self.key),
            "UserKnownHostsFile": str(self.known_hosts), "StrictHostKeyChecking": "yes", "ConnectTimeout": "20",
        }  # fmt: skip
        return [
            "-F",
            "none",
            *(word for name, value in settings.items() for word in ("-o", f"{name}={value}")),
        ]

    # What goes wrong with boards.

    def cut_link(self) -> None:
        """Pull the cable: neither side is told."""
        self._order("cut")

    def restore_link(self) -> None:
        self._order("restore")

    def freeze(self) -> None:
        """Stop all its processes; its kernel goes on to acknowledge packets."""
        self._order("freeze")

    def thaw(self) -> None:
        self._order("thaw")

    def kill(self, text: str) -> int:
        """SIGKILL for all there with this in their command line; gives how many."""
        return int(self._order("kill", text=text))

    def kill_sshd(self) -> None:
        """Kill the server and every session of it; what was detached from them lives on."""
        self._order("kill", text="sshd")

    def start_sshd(self) -> None:
        self._order("start_sshd")
        self.wait_for_sshd()

    def reboot(self, down_s: float = 1.0, *, tells: bool = True) -> None:
        """All processes end, /tmp is emptied, the disk stays. Comes back after `down_s`, and waits until it answers.

        With `tells` connections are closed; else they are just dead, as after a power cut.
        """
        self._order("reboot", down_s=down_s, tells=tells)
        self.wait_for_sshd()

    def fill_disk(self, leave_bytes: int = 0) -> int:
        """Leave so much room; gives how much is left indeed."""
        return int(self._order("fill_disk", leave_bytes=leave_bytes))

    def free_disk(self) -> None:
        self._order("free_disk")

    def delete(self, path: str) -> None:
        """Remove an absolute path there, as if its owner had."""
        self._order("delete", path=path)

    def processes(self) -> list[tuple[int, str]]:
        """(this machine's pid, command line) of everything that runs there."""
        return [(pid, words) for pid, words in self._order("list_processes")]

    def change_host_key(self) -> None:
        """A new host key there; `known_hosts` keeps the old one."""
        for suffix in ("", ".pub"):
            (self.folder / f"host_key{suffix}").unlink()
        self._make_key("host_key")
        self._order("write_keys")
        self._order("kill", text="sshd")
        self.start_sshd()

    def know_host_key(self) -> None:
        """Write the host key that it has now into `known_hosts`."""
        self._know_host_key()

    def refuse_key(self) -> None:
        """Let nobody in any more."""
        self._order("write_keys", host_key=False, user_key=False)

    def accept_key(self) -> None:
        self._order("write_keys", host_key=False)

    def heal(self) -> None:
        """Undo every harm above but a deletion, and wait until it answers."""
        for order in ("restore", "thaw", "free_disk", "write_keys"):
            self._order(order)
        self._know_host_key()
        if not any("/usr/sbin/sshd -D" in words for _, words in self.processes()):
            self._order("start_sshd")
        self.wait_for_sshd()

    def _know_host_key(self) -> None:
        kind, key, *_ = (self.folder / "host_key.pub").read_text().split()
        self.known_hosts.write_text(f"{self.host} {kind} {key}\n")

    def _make_key(self, name: str) -> None:
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name))

    def _order(self, name: str, **arguments: Any) -> Any:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
                control.settimeout(BOOT_S)
                control.connect(str(self.folder / "control"))
                control.sendall(json.dumps({"do": name, "with": arguments}).encode() + b"\n")
                with control.makefile() as file:
                    line = file.readline()
        except OSError as problem:
            raise BoardTrouble(f"the board's keeper does not answer: {problem}") from problem
        reply = json.loads(line or '{"error": "the keeper ended"}')
        if "error" in reply:
            raise BoardTrouble(f"{name}: {reply['error']}")
        return reply["value"]


def _free_addresses() -> tuple[str, str]:
    """This side's and the board's address in a network of four that this machine does not have yet."""
    taken = subprocess.run(["ip", "-4", "-o", "address"], capture_output=True, text=True, check=True).stdout
    networks = list(NETWORK.subnets(new_prefix=30))
    while True:
        here, there = map(str, random.SystemRandom().choice(networks).hosts())
        if f" {here}/" not in taken:
            return here, there


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BoardTrouble(f"{' '.join(words)}: {done.stderr.strip()}")
