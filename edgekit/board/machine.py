"""What this machine is: CPU, features, accelerators, memory, versions. No runtime is imported."""

import hashlib
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from typing import Any, Dict, List, Mapping, Optional, Tuple

from . import powermodes
from .booted import boot_id, is_emulated
from .files import read_text
from .runtimes import RUNTIMES, importable_runtimes

PACKAGES = (
    "numpy",
    "pillow",
    *(package for row in RUNTIMES.values() for package in row.packages),
    "nncf",
    "onnx",
    "torch",
)
# MIDR part numbers, for kernels that print no "model name" (Linux arch/arm64/include/asm/cputype.h)
ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53", ("0x41", "0xd05"): "Cortex-A55", ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72", ("0x41", "0xd0b"): "Cortex-A76", ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x4e", "0x003"): "NVIDIA Denver 2", ("0x4e", "0x004"): "NVIDIA Carmel",
    ("0x41", "0xd83"): "Neoverse V3AE",
}  # fmt: skip
TEGRA = {
    "nvidia,tegra210": "sm_53", "nvidia,tegra186": "sm_62", "nvidia,tegra194": "sm_72", "nvidia,tegra234": "sm_87",
    "nvidia,tegra264": "sm_110",
}  # fmt: skip
"""Jetson chip as its device tree calls it -> compute capability of its GPU (CUDA GPUs: compute capability)."""


def _cpuinfo() -> Tuple[str, List[str]]:
    """CPU model and features (x86 "flags", Arm "Features") as the kernel names them."""
    fields: Dict[str, str] = {}
    for line in read_text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    part = (fields.get("CPU implementer", ""), fields.get("CPU part", ""))
    model = fields.get("model name") or ARM_PARTS.get(part) or " ".join(part).strip() or platform.processor()
    return model, sorted((fields.get("flags") or fields.get("Features") or "").split())


def _cgroup_value(controller: str, v2_file: str, v1_file: str) -> str:
    """A cgroup limit of this process; the tightest group's file is the deepest that exists."""
    for line in read_text("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        roots = ["/sys/fs/cgroup"] if not names else ["/sys/fs/cgroup/" + names]
        if names and controller not in names.split(","):
            continue
        for folder in (roots[0] + path, roots[0]):
            text = read_text(folder.rstrip("/") + "/" + (v1_file if names else v2_file))
            if text:
                return text
    return ""


def memory_bytes() -> int:
    """MemTotal, or the cgroup's limit where that is lower."""
    total = 0
    for line in read_text("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
    limit = _cgroup_value("memory", "memory.max", "memory.limit_in_bytes")
    return min(total, int(limit)) if limit.isdigit() and total else total


def _cpu_quota() -> Optional[float]:
    """How many CPUs' time the cgroup grants, or None without a limit."""
    fields = _cgroup_value("cpu", "cpu.max", "cpu.cfs_quota_us").split()
    if not fields or not fields[0].isdigit():
        return None
    period = fields[1] if len(fields) > 1 else _cgroup_value("cpu", "cpu.max", "cpu.cfs_period_us")
    return int(fields[0]) / float(period)


def versions_on(folders: List[str]) -> Dict[str, str]:
    """PACKAGES' versions by their metadata in these folders, the first one counts; nothing is imported.

    Read here, because importlib.metadata came with Python 3.8 and pkg_resources is not installed everywhere.
    """
    versions: Dict[str, str] = {}
    for folder in folders:
        try:
            entries = sorted(os.listdir(folder or "."))
        except OSError:  # a zip file, or nothing
            continue
        for stem, suffix in (os.path.splitext(entry) for entry in entries):
            name = re.sub(r"[-_.]+", "-", stem.partition("-")[0]).lower()
            if suffix in (".dist-info", ".egg-info") and name in PACKAGES and name not in versions:
                version = _metadata_version(os.path.join(folder, stem + suffix))
                if version:
                    versions[name] = version
    return versions


def _metadata_version(path: str) -> str:
    """The version in a package's metadata: a folder with one of two files, or, of old packages, the file itself."""
    places = (os.path.join(path, "METADATA"), os.path.join(path, "PKG-INFO"), path)
    text = next(filter(None, (read_text(place) for place in places)), "")
    header = text.partition("\n\n")[0]
    match = re.search(r"^Version:\s*(\S+)", header, re.MULTILINE)
    return match.group(1) if match else ""


def _accelerators() -> List[str]:
    """NVIDIA GPUs by compute capability ("sm_86"): a Jetson's from its device tree, others' from the driver.

    Without a driver nothing is started or loaded.
    """
    compatible = read_text("/proc/device-tree/compatible").split("\0")
    chips = {TEGRA[chip] for chip in compatible if chip in TEGRA}
    if chips or not any(os.path.exists(path) for path in ("/dev/nvidiactl", "/dev/dxg")):
        return sorted(chips)
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        told = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = [line.strip() for line in told.stdout.decode(errors="replace").splitlines()]
    return sorted({"sm_" + line.replace(".", "") for line in lines if line.replace(".", "").isdigit()})


def _model() -> str:
    """What the board or computer calls itself; never its name in a network, which is its owner's affair."""
    named = read_text("/proc/device-tree/model") or read_text("/sys/devices/virtual/dmi/id/product_name")
    return named or "a %s machine" % platform.machine()


def _free_bytes(folder: str) -> Optional[int]:
    """Room on the folder's disk for this user; None where it cannot be asked."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _libc() -> str:
    """ "glibc 2.36"; "" of another C library, for which wheels are not made."""
    name, version = platform.libc_ver()
    return "%s %s" % (name, version) if name else ""


def _unit() -> str:
    """What tells this one machine from others of its kind, no more: a hash of its installation's id."""
    identity = read_text("/etc/machine-id") or read_text("/proc/device-tree/serial-number")
    return hashlib.sha256(("edgekit " + identity).encode("utf-8")).hexdigest()[:16] if identity else ""


def describe(folder: str = ".") -> Dict[str, Any]:
    """What this machine is, and which runtimes it has. Cheap: none is imported. `cores`: CPUs this process may use.

    `folder`: whose disk's room is told. `bits`: of this Python, which with `libc` says what wheels fit.
    """
    cpu, features = _cpuinfo()
    affinity = (
        sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else list(range(os.cpu_count() or 1))
    )
    release = [
        line[13:].strip('"')
        for line in read_text("/etc/os-release").splitlines()
        if line[:12] == "PRETTY_NAME="
    ]
    return {
        "machine": _model(),
        "arch": {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine()),
        "cpu": cpu,
        "features": features,
        "accelerators": _accelerators(),
        "cores": len(affinity),
        "cpus": affinity,
        "cpu_quota": _cpu_quota(),
        "memory_bytes": memory_bytes(),
        "os": "%s, %s %s" % (release[0] if release else "unknown", platform.system(), platform.release()),
        "governor": read_text("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor" % affinity[0]),
        "python": platform.python_version(),
        "load_1m": os.getloadavg()[0],
        "versions": versions_on(sys.path),
        "runtimes": importable_runtimes(),
        "bits": 8 * struct.calcsize("P"),
        "emulated": is_emulated(),
        "libc": _libc(),
        "unit": _unit(),
        "boot_id": boot_id(),
        "free_disk_bytes": _free_bytes(folder),
        "power_modes": powermodes.told(),
    }


def first_cpus(facts: Mapping[str, Any], threads: int) -> List[int]:
    """The CPUs that an artifact with so many threads is measured on, of those in `describe`."""
    return list(facts["cpus"][:threads])
