"""Damaged and hostile files for every loader, drawn from a seed: each is loaded, or refused in one short line.

The suite draws a few of each, `benchmarks/fuzz.py` as many as its time allows.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.board.manifest import manifest_digest
from edgekit.errors import EdgekitError

__all__ = ["LOADERS", "LONGEST_MESSAGE", "Loader", "complaint"]

LONGEST_MESSAGE = 1000

HOSTILE_TEXT = (
    "inf", "nan", "-1", "1e999", "9" * 5000, "[" * 3000, "{" * 3000, "a." * 3000, "\x00", "\x1b[2J", "é" * 2000, '"',
    "\n", "0x7fffffffffffffff", "18446744073709551616", "true", "''", "=", "]]", "1979-05-27", "null", "\\ud800",
)  # fmt: skip
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**400, 1e308, float("inf"), float("nan"), "", "../x", "/etc/passwd", "\x00", "\ud800",
    "x" * 5000, [], {}, [[]], {"": None}, [None] * 50,
)  # fmt: skip


@dataclass(frozen=True)
class Loader:
    """`name` of the file; `sound`: what a good one holds; `open`: what reads it; `kind`: how it is damaged."""

    name: str
    sound: Callable[[], bytes]
    open: Callable[[Path], object]
    kind: str = "bytes"

    def damaged(self, rng: random.Random) -> bytes:
        """One file that is not as it was written, mostly."""
        content = self.sound()
        if self.kind == "text" and rng.random() < 0.7:
            return _damaged_text(rng, content)
        if self.kind in ("json", "manifest") and rng.random() < 0.8:
            return _damaged_json(rng, content, seal=self.kind == "manifest")
        return _damaged_bytes(rng, content)


def complaint(loader: Loader, content: bytes, folder: Path) -> str:
    """What is wrong with how the loader took it: "" for a file that was loaded or refused in one short line."""
    path = folder / loader.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        loader.open(path)
    except (EdgekitError, BoardError) as error:
        told = str(error)
        if "\n" in told or len(told) > LONGEST_MESSAGE:
            return f"a message of {len(told)} characters: {told[:200]!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {str(error)[:200]}"
    return ""


class BoardError(Exception):
    """What a program of `board/` would tell in one line."""


def _damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place, how = rng.randrange(max(1, len(damaged))), rng.randrange(5)
        if not damaged:
            break
        if how == 0:
            damaged[place] = rng.randrange(256)
        elif how == 1:
            damaged[place] ^= 1 << rng.randrange(8)
        elif how == 2:
            damaged[place : place + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        elif how == 3:
            del damaged[place : place + rng.randrange(1, 20)]
        else:
            del damaged[place:]
    return bytes(damaged)


def _damaged_text(rng: random.Random, content: bytes) -> bytes:
    words = content.decode().split(" ")
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(words))
        if rng.random() < 0.6:
            words[place] = rng.choice(HOSTILE_TEXT)
        elif rng.random() < 0.5:
            words.insert(place, rng.choice(words))
        else:
            del words[place]
            words.append("")
    return " ".join(words).encode("utf-8", "surrogatepass")


def _damaged_json(rng: random.Random, content: bytes, *, seal: bool) -> bytes:
    """One value of it replaced, or one key gone; `seal`: the digest fits again, as an attacker writes it."""
    tree: Any = json.loads(content)
    places: list[tuple[Any, Any]] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            places.append((node, key))
            if isinstance(value, (dict, list)):
                pending.append(value)
    node, key = rng.choice(places)
    if isinstance(node, dict) and rng.random() < 0.25:
        del node[key]
    else:
        node[key] = rng.choice(HOSTILE_VALUES)
    if seal:
        tree.pop("digest", None)
        tree["digest"] = manifest_digest(tree)
    return json.dumps(tree).encode()


# ---- what is opened ----------------------------------------------------------------------------------------


def _npz() -> bytes:
    held = io.BytesIO()
    values = {"x": np.arange(80, dtype=np.float32).reshape(10, 8), "y": np.arange(10) % 3}
    np.savez(held, classes=np.array(["a", "b", "c"]), **values)  # type: ignore[arg-type]
    return held.getvalue()


def _packed_npz() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_LZMA) as archive:
        for name, value in (("x", np.zeros((9, 4))), ("y", np.arange(9.0) % 2)):
            member = io.BytesIO()
            np.save(member, value)
            archive.writestr(f"{name}.npy", member.getvalue())
    return held.getvalue()


def _open_npz(path: Path) -> object:
    from edgekit.data import open_source
    from edgekit.types import Preprocess

    source = open_source(path, Preprocess(), path.parent / "cache")
    return source.take(np.arange(len(source)))


def _state() -> bytes:
    import torch

    held = io.BytesIO()
    torch.save({"weight": torch.ones(3, 4), "bias": torch.zeros(3)}, held)
    return held.getvalue()


def _safetensors() -> bytes:
    import torch
    from safetensors.torch import save

    held: bytes = save({"weight": torch.ones(3, 4), "bias": torch.zeros(3)})
    return held


def _open_weights(path: Path) -> None:
    from edgekit.model import check_weights

    check_weights(path)


def _image(form: str) -> Callable[[], bytes]:
    def made() -> bytes:
        from PIL import Image

        held = io.BytesIO()
        pixels = np.arange(16 * 12 * 3, dtype=np.uint8).reshape(16, 12, 3)
        Image.fromarray(pixels).save(held, form)
        return held.getvalue()

    return made


def _open_images(path: Path) -> object:
    from edgekit.data import open_source
    from edgekit.types import Preprocess

    return open_source(path.parent, Preprocess(), path.parent).take(np.zeros(1, np.int64))


def _target() -> bytes:
    from edgekit.hardware.folders import data_dir

    return (data_dir("targets") / "generic-cpu.toml").read_bytes()


def _open_target(path: Path) -> object:
    from edgekit.hardware import load_target_file

    return load_target_file(path)


def _recipe() -> bytes:
    from edgekit.hardware.folders import data_dir

    return min(data_dir("calibration").glob("*.toml")).read_bytes()


def _open_recipe(path: Path) -> object:
    from edgekit.quantize.recipe import load_recipe_file

    return load_recipe_file(path)


def _open_preprocess(path: Path) -> object:
    from edgekit.data import load_preprocess

    return load_preprocess(path)


def _manifest() -> bytes:
    content = {
        "schema": 1, "entry": "model.onnx", "options": {"a": "b"}, "threads": 1, "labels": ["a"], "kind": "one",
        "files": [{"path": "model.onnx", "sha256": "0" * 64}], "candidate": {"backend": "onnxruntime"},
        "golden": {"samples": 2, "tolerance": 0.01}, "measured": {"test": {"drop": {"value": 0.1}}},
        "signature": {
            "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 4]}],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 2]}],
        },
        "preprocess": {
            "input_layout": "as-is", "scale": 1.0, "mean": [], "std": [], "resize": None, "crop": None,
        },
    }  # fmt: skip
    return json.dumps({**content, "digest": manifest_digest(content)}).encode()


def _several() -> bytes:
    identity = {key: ["a"] for key in ("models", "cpus", "all_of", "any_of", "none_of")}
    limits = dict.fromkeys(("max_latency_ms", "max_drop", "max_size_bytes", "max_memory_bytes"))
    content = {
        "schema": 1, "kind": "candidates", "target": "board", "threads": 1,
        "files": [{"path": "settle.py", "sha256": "0" * 64}],
        "budget": {"percentile": "p90", "fastest": False, **limits},
        "identity": {"architecture": "x86_64", "accelerator": "", **identity},
        "candidates": [
            {"id": "a", "folder": "c/a", "variant": "v", "precision": "fp32", "size_bytes": 3, "drop": 0.1}
        ],
    }  # fmt: skip
    return json.dumps({**content, "digest": manifest_digest(content)}).encode()


def _open_on_board(path: Path) -> object:
    from edgekit.board.candidates import read_bundle
    from edgekit.board.manifest import read_manifest

    try:
        facts = read_manifest(str(path.parent))
        return facts if facts.get("kind") != "candidates" else read_bundle(str(path.parent))
    except ValueError as error:
        raise BoardError(error) from error


def _open_here(path: Path) -> object:
    from edgekit.bundle import read_any_manifest

    return read_any_manifest(path.parent)


def _job() -> bytes:
    entry = {
        "id": "a", "runtime": "onnxruntime", "path": "m.onnx", "options": {"a": "b"}, "feeds": {"x": "x.npy"},
        "evaluate": {"inputs": {"x": "x.npy"}, "outputs": "out"},
    }  # fmt: skip
    return json.dumps({"schema": 1, "threads": 1, "cpus": [0], "seconds": 1.0, "entries": [entry]}).encode()


def _open_job(path: Path) -> object:
    from edgekit.board.coordinator import place_entry, read_job
    from edgekit.board.forms import one_line

    try:
        return [place_entry(entry, "folder") for entry in read_job(str(path))["entries"]]
    except (OSError, ValueError) as error:  # as `board run` tells it
        raise BoardError(one_line(error)) from error


def _result() -> bytes:
    return b'{"schema": 1, "target": {"name": "a", "title": "b"}, "run": {"id": 1}, "candidates": []}'


def _open_result(path: Path) -> object:
    from edgekit.result import load_result

    return load_result(path)


PREPROCESS = b'input_layout = "nhwc"\nscale = 255\nmean = [ 0.5 , 0.4 , 0.3 ]\nstd = [ 0.2 , 0.2 , 0.2 ]\nresize = 32\n'

LOADERS: Mapping[str, Loader] = {
    "npz": Loader("d.npz", _npz, _open_npz),
    "packed npz": Loader("p.npz", _packed_npz, _open_npz),
    "safetensors": Loader("w.safetensors", _safetensors, _open_weights),
    "pt": Loader("w.pt", _state, _open_weights),
    "png": Loader("images/a.png", _image("PNG"), _open_images),
    "jpeg": Loader("photos/a.jpg", _image("JPEG"), _open_images),
    "target": Loader("generic-cpu.toml", _target, _open_target, "text"),
    "recipe": Loader("recipe.toml", _recipe, _open_recipe, "text"),
    "preprocess": Loader("p.toml", lambda: PREPROCESS, _open_preprocess, "text"),
    "manifest on a board": Loader("one/manifest.json", _manifest, _open_on_board, "manifest"),
    "candidates on a board": Loader("several/manifest.json", _several, _open_on_board, "manifest"),
    "manifest": Loader("here/manifest.json", _manifest, _open_here, "manifest"),
    "job": Loader("job.json", _job, _open_job, "json"),
    "result": Loader("result.json", _result, _open_result, "json"),
}
"""Name → what reads such files in this process; .onnx and .pt2 are opened by a worker (`building.reading`)."""
