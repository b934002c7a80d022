"""The store keeps what a quantization plan takes long to measure, for every worker that comes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.building.code import code_digest
from edgekit.building.memo import store_memo
from edgekit.building.tasks import ExportTask
from edgekit.building.worker import ProcessExecutor
from edgekit.errors import StageError
from edgekit.hardware import find_target
from edgekit.quantize import find_recipe
from edgekit.store import Store
from edgekit.testing.onnx_networks import as_variant, residual_network, samples
from edgekit.types import Candidate

pytest.importorskip("onnxruntime")


def test_what_was_made_once_is_read_again(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        return b"content"

    with Store.open(tmp_path / "store") as store:
        memo = store_memo(store.folder)
        assert memo("plan", {"a": 1}, make) == memo("plan", {"a": 1}, make) == b"content"
        assert len(made) == 1
        memo("plan", {"a": 2}, make)
        memo("ranges", {"a": 1}, make)
        assert len(made) == 3
        assert store.holds("plan", {"a": 1, "code": code_digest()})


def test_what_fails_is_not_kept(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise StageError("calibrate", "it broke")

    with Store.open(tmp_path / "store") as store:
        with pytest.raises(StageError):
            store_memo(store.folder)("plan", {}, fail)
        assert not store.holds("plan", {})


def test_another_worker_finds_the_plan_and_writes_the_same_bytes(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", samples(32))
    variant = as_variant(residual_network(tmp_path / "net.onnx"))
    candidate = Candidate("c", "original", "onnxruntime", "int8", "int8-mixed")
    with Store.open(tmp_path / "store") as store:
        task = ExportTask(
            variant=variant,
            candidate=candidate,
            target=find_target("generic-cpu"),
            features=("avx2", "fma"),
            recipe=find_recipe("int8-mixed"),
            samples=(str(tmp_path / "pixels.npy"),),
            samples_digest="digest",
            threads=1,
            versions={},
            store=str(store.folder),
        )
        files, entries = [], []
        for number in range(2):
            folder = tmp_path / f"artifact{number}"
            folder.mkdir()
            executor = ProcessExecutor(tmp_path / "log")
            try:
                files.append(executor.run(task, folder).files)
            finally:
                executor.close()
            entries.append({path.parent.name: path.stat().st_mtime_ns for path in stored(store)})
        assert files[0] == files[1]
        assert entries[0] == entries[1]
        assert len(entries[0]) == 4  # ranges, sensitivity, biases, plan


def stored(store: Store) -> list[Path]:
    return sorted((store.folder / "objects").glob("*/*/meta.json"))
