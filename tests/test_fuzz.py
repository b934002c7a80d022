"""Damaged and hostile files: whatever a loader is given is loaded, or refused in one short line."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest
import torch

from edgekit.building.executor import Executor
from edgekit.building.reading import read_network
from edgekit.building.worker import ProcessExecutor
from edgekit.errors import ModelError
from edgekit.files import sha256_file
from edgekit.testing.fuzzing import LOADERS, LONGEST_MESSAGE, Loader, complaint
from edgekit.testing.onnx_networks import residual_network

DRAWN = 150


@pytest.mark.parametrize("name", LOADERS)
def test_whatever_comes_is_loaded_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    loader = LOADERS[name]
    for seed in range(DRAWN):
        content = loader.damaged(random.Random(f"{name} {seed}"))
        assert (seed, complaint(loader, content, tmp_path)) == (seed, "")


@pytest.mark.parametrize("name", sorted(set(LOADERS) - {"manifest", "result"}))
def test_what_is_sound_is_loaded(tmp_path: Path, name: str) -> None:
    loader = LOADERS[name]
    path = tmp_path / loader.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(loader.sound())
    if name == "recipe":
        pytest.skip("its file's name is another one")
    if name != "candidates on a board":  # whose files are not there
        loader.open(path)


def test_networks_are_read_by_a_worker_or_refused_in_one_line(tmp_path: Path) -> None:
    sound = residual_network(tmp_path / "sound.onnx").read_bytes()
    program = tmp_path / "sound.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2).eval(), (torch.zeros(1, 4),)), program)
    with closing(ProcessExecutor()) as executor:
        for seed in range(40):
            name = "net.pt2" if seed % 4 == 0 else "net.onnx"
            loader = Loader(name, program.read_bytes if seed % 4 == 0 else lambda: sound, lambda path: path)
            path = tmp_path / name
            path.write_bytes(loader.damaged(random.Random(seed)))
            assert (seed, told(executor, path, tmp_path)) == (seed, "")


def told(executor: Executor, path: Path, folder: Path) -> str:
    kind = "pt2" if path.suffix == ".pt2" else "onnx"
    import numpy as np

    example = (np.zeros((1, 4), np.float32),)
    try:
        read_network(executor, kind, path, sha256_file(path), example, folder)  # type: ignore[arg-type]
    except ModelError as error:
        message = str(error)
        return "" if "\n" not in message and len(message) < LONGEST_MESSAGE else message[:300]
    return ""
