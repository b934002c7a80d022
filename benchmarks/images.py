"""All images for CPUs, cross-built: each holds a bundle of its runtime, which answers its golden outputs inside.

usage: python benchmarks/images.py [--work DIR] [--engine buildah] [--platforms amd64,arm64] [--runtimes litert,…]

Needs root, mmdebstrap, an engine, and for the other architecture arch-test and qemu-user with binfmt_misc. No registry
is asked: the base image is Debian's bookworm with its own Python 3.11, made here and known to the engine by the name
that the Dockerfiles have. So sizes are told with the base's own beside them. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import edgekit, show

from edgekit.docker import Engine, find_engine
from edgekit.docker.images import DEFAULT_BASE

PACKAGES = "ca-certificates,python3,python3-venv"
RUNTIMES = ("litert", "onnxruntime", "openvino")
TARGETS = {"amd64": "generic-cpu", "arm64": "arm64-all"}
OPENVINO_ROW = """
[[runtimes]]
name = "openvino"
versions = ">=2024.5"
precisions = ["fp32"]
opset_max = 21
source = ["cpu"]
"""


def make_base(engine: Engine, platform: str, work: Path) -> None:
    """Debian's Python under the name of the default base, in the engine's own store."""
    archive = work / f"base-{platform}.tar"
    if not archive.exists():
        partial = archive.with_name(f"partial-{platform}.tar")
        words = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--architectures={platform}"]
        words += [f"--include={PACKAGES}", '--aptopt=Acquire::Languages "none"', "bookworm", str(partial)]
        subprocess.run(words, check=True, stdout=sys.stderr)
        partial.replace(archive)
    name = f"docker.io/library/{DEFAULT_BASE}"
    maker = shutil.which("buildah")
    if maker is None:
        raise SystemExit("buildah is not installed: docker import records the wrong architecture")
    container = f"edgekit-base-{platform}"
    for step in (
        ["from", "--arch", platform, "--name", container, "scratch"],
        ["add", "--quiet", container, str(archive), "/"],
        ["config", "--arch", platform, "--cmd", "python3", container],
        ["commit", "--quiet", "--format", "docker", container, name],
        ["rm", container],
    ):
        subprocess.run([maker, *step], check=True, stdout=subprocess.DEVNULL)
    if engine.name == "docker":
        packed = work / "base-docker.tar"
        packed.unlink(missing_ok=True)
        subprocess.run(
            [maker, "push", "--quiet", name, f"docker-archive:{packed}:{DEFAULT_BASE}"], check=True
        )
        subprocess.run([engine.program, "load", "--input", str(packed)], check=True, stdout=sys.stderr)
        packed.unlink()


def make_target() -> None:
    """A board of the user's own, in ./targets: any 64-bit Arm CPU, with OpenVINO, which none that ships has."""
    from edgekit.hardware import data_dir

    text = (data_dir("targets") / "generic-arm64.toml").read_text(encoding="utf-8")
    text = text.replace('name = "generic-arm64"', 'name = "arm64-all"', 1)
    place = Path("targets") / "arm64-all.toml"
    place.parent.mkdir(exist_ok=True)
    head, mark, tail = text.partition("[[int8]]")
    place.write_text(head + OPENVINO_ROW.lstrip() + "\n" + mark + tail, encoding="utf-8")


def make_bundle(target: str, runtime: str, work: Path) -> Path:
    """The bundle of a small untrained network for that runtime; of an absent board, its first candidate."""
    out = work / f"out-{target}-{runtime}"
    if not (out / "bundle" / "manifest.json").exists():
        import torch
        from mobilenet import make
        from safetensors.torch import save_file

        rng = np.random.default_rng(0)
        np.savez(
            work / "noise.npz", x=rng.normal(size=(400, 1, 32, 32)).astype(np.float32), y=np.arange(400) % 10
        )
        torch.manual_seed(0)
        save_file(make().state_dict(), work / "net.safetensors")
        edgekit(
            "build", "--target", target, "--model", f"{Path(__file__).parent / 'mobilenet.py'}:make",
            "--weights", str(work / "net.safetensors"), "--data", str(work / "noise.npz"),
            "--precision", "fp32" if runtime == "openvino" else "fp32,int8", "--runtime", runtime, "--no-prune",
            "--allow-weak-original", "--max-latency", "1s", "--max-drop", "100%", "--timed", "0.3s",
            "--out", str(out), "--store", str(work / "store"), codes=(0, 3, 4),
        )  # fmt: skip
    manifest = json.loads((out / "bundle" / "manifest.json").read_text())
    if manifest.get("kind") == "candidates":
        return out / "bundle" / str(manifest["candidates"][0]["folder"])
    return out / "bundle"


def size_bytes(engine: Engine, tag: str) -> int:
    """Of an image, all its layers."""
    if engine.name == "buildah":
        text = subprocess.run(
            [engine.program, "images", "--json", tag], check=True, capture_output=True, text=True
        ).stdout
        return int(float(json.loads(text)[0]["size"].split()[0]) * 10**6)
    words = [engine.program, "image", "inspect", "--format", "{{.Size}}", tag]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def build(engine: Engine, platform: str, runtime: str, options: argparse.Namespace) -> dict[str, Any]:
    """One image with its bundle: what `edgekit docker build` says, its size, and how long it took."""
    target = TARGETS[platform]
    bundle = make_bundle(target, runtime, options.work)
    tag = f"localhost/edgekit-{runtime}:{platform}"
    since = time.perf_counter()
    words = [
        "docker",
        "build",
        "--target",
        target,
        "--bundle",
        str(bundle),
        "--engine",
        engine.name,
        "--tag",
        tag,
    ]
    words += [f"--build-option={word}" for word in options.build_option]
    words += [f"--run-option={word}" for word in options.run_option]
    done = edgekit(*words, "--json", check=False)
    told = json.loads(done.stdout) if done.returncode == 0 else {"exit_code": done.returncode}
    row = {
        "platform": platform,
        "runtime": runtime,
        "took_s": round(time.perf_counter() - since, 1),
        "told": told,
    }
    if done.returncode == 0:
        row["size_mb"] = round(size_bytes(engine, tag) / 1e6, 1)
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("images-work"))
    parser.add_argument("--engine", choices=["buildah", "docker", "podman"], default="buildah")
    parser.add_argument("--platforms", default="amd64,arm64")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--build-option", action="append", default=[])
    parser.add_argument("--run-option", action="append", default=[])
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work)
    make_target()
    engine = find_engine(options.engine)
    rows, bases = [], {}
    for platform in options.platforms.split(","):
        make_base(engine, platform, options.work)  # one name for both: so one platform after the other
        bases[platform] = round(size_bytes(engine, DEFAULT_BASE) / 1e6, 1)
        rows += [build(engine, platform, runtime, options) for runtime in options.runtimes.split(",")]
    show("images", {"engine": engine.name, "base_mb": bases, "images": rows})


if __name__ == "__main__":
    main()
