"""The first process of an emulated board: mounts what a running system has, keeps sshd, buries the dead.

Started by keeper.py in fresh PID, mount, UTS and IPC namespaces: init.py ROOT HOSTNAME CPU. SIGUSR1 starts sshd. It
runs natively and outside of the board's root; what it starts is chrooted.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

DEVICES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0),
}  # fmt: skip


def mount(kind: str, place: Path, options: str) -> None:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", kind, "-o", options, kind, str(place)], check=True)


def mount_system(root: Path) -> None:
    """/proc, /run, /tmp, and a /dev of its own: nothing of this machine's /dev or /sys is to be seen there."""
    mount("proc", root / "proc", "nosuid,nodev,noexec")
    mount("tmpfs", root / "run", "mode=755,size=16m")
    mount("tmpfs", root / "tmp", "mode=1777,size=256m")
    mount("tmpfs", root / "dev", "mode=755,size=1m")
    for name, (major, minor) in DEVICES.items():
        os.mknod(root / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
        os.chmod(root / "dev" / name, 0o666)
    mount("tmpfs", root / "dev/shm", "mode=1777,size=256m")
    mount("devpts", root / "dev/pts", "newinstance,ptmxmode=0666,mode=620")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    (root / "run/sshd").mkdir(mode=0o755)


def start_sshd(root: Path, cpu: str) -> None:
    """`cpu` reaches QEMU by its environment variable, in the sessions too."""
    with (root.parent / "sshd.log").open("ab") as log:
        subprocess.Popen(
            ["chroot", str(root), "/usr/sbin/sshd", "-D", "-e", "-o", f"SetEnv=QEMU_CPU={cpu}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={"QEMU_CPU": cpu, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )


def main(root: Path, hostname: str, cpu: str) -> None:
    socket.sethostname(hostname)
    mount_system(root)
    signal.signal(signal.SIGUSR1, lambda *_: start_sshd(root, cpu))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    start_sshd(root, cpu)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.1)  # a signal ends the sleep's use, not the sleep


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
