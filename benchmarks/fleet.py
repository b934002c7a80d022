"""Four boards at once from one build: wall time against one board's.

usage: python benchmarks/fleet.py [--boards 4] [--wait 0.2] [--work DIR]

The boards are Fakes: one sshd on this machine, a work folder, a lock and a name for each, and a FakeSlow runtime there
that sleeps for --wait seconds in the place of each timed inference (outputs are ONNX Runtime's own). So boards wait as
real ones do, without taking this machine's cores from the builds; what is measured is how edgekit keeps them busy side
by side. Each build begins with a store of its own, empty.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import show

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
ASKED = 1.5

SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile {folder}/sshd.pid
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
"""

FAKE_PYTHON = """\
#!{python}
import os, sys
words = sys.argv[1:]
if "--lock" in words:
    words[words.index("--lock") + 1] = {lock!r}
os.execve({python!r}, [{python!r}, *words], dict(os.environ, PYTHONPATH={fakes!r}))
"""

FAKE_NAME = """\
import platform
_release = platform.release
platform.release = lambda: _release() + " FakeBoard {name}"
"""

FAKE_RUNTIME = """\
import os, sys, time
_place = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.remove(_place)
del sys.modules["onnxruntime"]
import onnxruntime
sys.path.insert(0, _place)


class FakeSlowSession(onnxruntime.InferenceSession):
    def run_with_iobinding(self, *_words):
        time.sleep({wait_s})


onnxruntime.InferenceSession = FakeSlowSession
sys.modules["onnxruntime"] = onnxruntime
"""


def start_sshd(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server with keys of its own, and its port."""
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    (folder / "config").write_text(SERVER.format(port=port, folder=folder))
    words = (folder / "host_key.pub").read_text().split()[:2]
    (folder / "home" / ".ssh").mkdir(parents=True)
    (folder / "home" / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(words)}\n")
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, port
        time.sleep(0.05)
    raise SystemExit((folder / "sshd.log").read_text())


def fake_board(folder: Path, name: str, port: int, wait_s: float) -> str:
    """Its files, and its table of devices.toml."""
    place = folder / name
    (place / "fakes" / "onnxruntime").mkdir(parents=True)
    (place / "lock").mkdir()
    (place / "fakes" / "sitecustomize.py").write_text(FAKE_NAME.format(name=name))
    (place / "fakes" / "onnxruntime" / "__init__.py").write_text(FAKE_RUNTIME.format(wait_s=wait_s))
    python = place / "python"
    python.write_text(
        FAKE_PYTHON.format(python=sys.executable, lock=str(place / "lock"), fakes=str(place / "fakes"))
    )
    python.chmod(0o755)
    return (
        f'[{name}]\nhost = "127.0.0.1"\nport = {port}\nuser = "{getpass.getuser()}"\n'
        f'key = "{folder / "user_key"}"\npython = "{python}"\nfolder = "{place / "work"}"\n'
    )


def build(folder: Path, boards: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """One command line's wall time, and how long each board was measuring."""
    out = Path(tempfile.mkdtemp(prefix=f"{len(boards)}-", dir=folder))
    words = [
        sys.executable, "-m", "edgekit", "build", "--target", "generic-cpu", "--data", "digits",
        "--model", f"{folder / 'net.py'}:make", "--weights", str(folder / "net.safetensors"),
        "--runtime", "onnxruntime", "--precision", "fp32,int8", "--no-prune", "--max-drop", "2%",
        "--max-latency", "10s", "--out", str(out / "out"), "--store", str(out / "store"),
        *(word for board in boards for word in ("--device", board)),
    ]  # fmt: skip
    started = time.monotonic()
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.monotonic() - started
    if done.returncode not in (0, 3):
        raise SystemExit(f"the build ended with {done.returncode}: {done.stderr[-3000:]}")
    results = [out / "out" / board / "result.json" if len(boards) > 1 else out / "out" / "result.json"
               for board in boards]  # fmt: skip
    told = [json.loads(result.read_text()) for result in results]
    return {
        "boards": len(boards),
        "wall_s": round(wall_s, 1),
        "verdicts": [each["verdict"] for each in told],
        "os": [each["environment"]["os"].rpartition(" ")[2] for each in told],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=4)
    parser.add_argument("--wait", type=float, default=0.2, help="seconds per timed inference")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    folder = options.work or Path(tempfile.mkdtemp(prefix="edgekit-fleet-"))
    folder.mkdir(parents=True, exist_ok=True)
    from edgekit.demo.__main__ import train

    shutil.copyfile(Path(train.__code__.co_filename).with_name("net.py"), folder / "net.py")
    if not (folder / "net.safetensors").exists():
        train(folder / "net.safetensors")
    server, port = start_sshd(folder)
    names = [f"FakeBoard-{letter}" for letter in "abcdefgh"[: options.boards]]
    tables = [fake_board(folder, name, port, options.wait) for name in names]
    (folder / "config-home" / "edgekit").mkdir(parents=True)
    (folder / "config-home" / "edgekit" / "devices.toml").write_text("\n".join(tables))
    environment = {
        **os.environ, "HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "config-home"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }  # fmt: skip
    try:
        one = build(folder, names[:1], environment)
        all_of_them = build(folder, names, environment)
    finally:
        server.terminate()
        server.wait()
    ratio = all_of_them["wall_s"] / one["wall_s"]
    show(
        "fleet",
        {
            "boards_are": f"Fakes on this machine that sleep {options.wait} s in the place of an inference",
            "one": one,
            "all": all_of_them,
            "all / one": round(ratio, 2),
            "asked": f"at most {ASKED}",
            "load_1m": os.getloadavg()[0],
        },
    )


if __name__ == "__main__":
    main()
