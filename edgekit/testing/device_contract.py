"""The suite that every device passes. A plug-in's tests subclass `DeviceContract`; pytest finds its tests there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.devices.base import Device
from edgekit.runtimes import RUNTIMES

__all__ = ["DeviceContract"]

FACTS = ("machine", "arch", "cpu", "features", "cores", "cpus", "memory_bytes", "os", "governor", "python",
         "load_1m", "versions", "runtimes")  # fmt: skip


class DeviceContract:
    """Subclass it, give a device and a runnable artifact: one input [1, ...], one output [1, classes]."""

    def make_device(self, work: Path) -> Device:
        """A device with `work` as its scratch folder on this machine."""
        raise NotImplementedError

    def make_artifact(self, folder: Path) -> tuple[str, Path, str, tuple[int, ...]]:
        """(runtime, file to load, input's name, input's shape with batch 1)."""
        raise NotImplementedError

    def _job(self, device: Device, tmp_path: Path, *, broken: bool = False) -> dict[str, Any]:
        runtime, path, name, shape = self.make_artifact(tmp_path)
        samples, empty = tmp_path / "samples.npy", tmp_path / "empty"
        np.save(samples, np.random.default_rng(0).random((3, *shape[1:]), dtype=np.float32))
        empty.write_bytes(b"")
        device.push([(path, f"a/{path.name}"), (samples, "samples.npy"), (empty, f"broken/{path.name}")])
        evaluate = {"inputs": {name: "samples.npy"}, "outputs": "a/outputs"}
        good = {"id": "good", "runtime": runtime, "path": f"a/{path.name}", "evaluate": evaluate}
        bad = {"id": "bad", "runtime": runtime, "path": f"broken/{path.name}"}
        entries = [bad, good] if broken else [good]
        return {"schema": 1, "rounds": 3, "seconds": 0.05, "warmup_s": 0.2, "entries": entries}

    def test_it_says_what_it_is(self, tmp_path: Path) -> None:
        device = self.make_device(tmp_path / "work")
        assert device.name
        assert device.origin in ("device", "host", "emulated")
        facts = device.describe()
        assert not [name for name in FACTS if name not in facts]
        assert facts["cores"] >= 1

    def test_it_says_which_runtimes_it_can_run(self, tmp_path: Path) -> None:
        runtime, *_ = self.make_artifact(tmp_path)
        told = self.make_device(tmp_path / "work").describe()["runtimes"]
        assert runtime in told
        assert set(told) <= set(RUNTIMES)

    def test_what_is_pushed_can_be_pulled(self, tmp_path: Path) -> None:
        device = self.make_device(tmp_path / "work")
        source = tmp_path / "file"
        source.write_bytes(b"\x00content\xff")
        device.push([(source, "deep/name")])
        (pulled,) = device.pull(["deep/name"], tmp_path / "back")
        assert pulled.read_bytes() == source.read_bytes()

    def test_a_second_push_replaces_the_first(self, tmp_path: Path) -> None:
        device = self.make_device(tmp_path / "work")
        for content in (b"one", b"two"):
            source = tmp_path / content.decode()
            source.write_bytes(content)
            device.push([(source, "name")])
        (pulled,) = device.pull(["name"], tmp_path / "back")
        assert pulled.read_bytes() == b"two"
        assert (tmp_path / "one").read_bytes() == b"one"

    def test_names_outside_the_work_folder_are_refused(self, tmp_path: Path) -> None:
        device = self.make_device(tmp_path / "work")
        source = tmp_path / "file"
        source.write_bytes(b"x")
        for name in ("../escape", "/absolute"):
            try:
                device.push([(source, name)])
            except ValueError:
                continue
            raise AssertionError(f"{name} was taken")

    def test_a_job_gives_times_memory_and_outputs(self, tmp_path: Path) -> None:
        device = self.make_device(tmp_path / "work")
        result = device.run(self._job(device, tmp_path), timeout_s=120.0)
        entry = result["entries"]["good"]
        assert entry["status"] == "ok"
        assert len(entry["rounds_ms"]) == 3
        assert all(sample > 0 for samples in entry["rounds_ms"] for sample in samples)
        assert entry["peak_memory_bytes"] > 0
        assert entry["load_ms"] > 0
        assert entry["preemptions"] >= 0
        assert result["order"] == [["good"]] * 3
        for moment in ("before", "after"):
            assert set(result["sensors"][moment]) == {"temperature_c", "clock_mhz"}
        (output,) = device.pull(list(entry["outputs"].values()), tmp_path / "back")
        assert len(np.load(output, allow_pickle=False)) == entry["samples"] == 3

    tells_layers = True
    """Whether the artifact's runtime there can tell its layers' times; a reason comes in their place where not."""

    def test_it_tells_times_of_layers_or_why_not(self, tmp_path: Path) -> None:
        device = self.make_device(tmp_path / "work")
        job = self._job(device, tmp_path)
        job["entries"][0]["layers"] = {"runs": 3, "parts": []}
        entry = device.run(job, timeout_s=120.0)["entries"]["good"]
        assert len(entry["rounds_ms"]) == 3  # the whole network's time comes all the same
        told = entry["layers"]
        assert bool(told["rows"]) == self.tells_layers
        assert bool(told["why"]) != self.tells_layers
        for row in told["rows"]:
            assert row["name"]
            assert row["mean_ms"] >= 0
            assert all(isinstance(fact, str) for fact in row["facts"].values())

    def test_layers_that_were_not_asked_for_are_not_told(self, tmp_path: Path) -> None:
        device = self.make_device(tmp_path / "work")
        entry = device.run(self._job(device, tmp_path), timeout_s=120.0)["entries"]["good"]
        assert entry.get("layers") is None

    def test_layers_that_cannot_be_told_cost_the_measurement_nothing(self, tmp_path: Path) -> None:
        """A part that is not there stands for whatever ends a runtime while it is profiled."""
        device = self.make_device(tmp_path / "work")
        job = self._job(device, tmp_path)
        job["entries"][0]["layers"] = {"runs": 3, "parts": [{"path": "parts/none", "feeds": {}}]}
        entry = device.run(job, timeout_s=120.0)["entries"]["good"]
        assert entry["status"] == "ok"
        assert entry["layers"]["rows"] == []
        assert entry["layers"]["why"]
        assert len(entry["rounds_ms"]) == 3
        assert entry["samples"] == 3

    def test_the_same_samples_give_the_same_outputs(self, tmp_path: Path) -> None:
        """What `compare` and accuracy stand on: outputs belong to the samples that were sent, in their order."""
        device = self.make_device(tmp_path / "work")
        outputs = []
        for turn in ("first", "second"):
            job = {**self._job(device, tmp_path), "seconds": 0.0}
            entry = device.run(job, timeout_s=120.0)["entries"]["good"]
            (path,) = device.pull(list(entry["outputs"].values()), tmp_path / turn)
            outputs.append(np.load(path, allow_pickle=False))
        assert np.array_equal(*outputs)

    def test_a_broken_artifact_fails_alone(self, tmp_path: Path) -> None:
        device = self.make_device(tmp_path / "work")
        result = device.run(self._job(device, tmp_path, broken=True), timeout_s=120.0)
        assert list(result["entries"]) == ["bad", "good"]
        assert result["entries"]["bad"]["status"] == "failed"
        assert result["entries"]["bad"]["cause"]
        assert result["entries"]["good"]["status"] == "ok"

    def test_progress_is_told(self, tmp_path: Path) -> None:
        device = self.make_device(tmp_path / "work")
        told: list[str] = []
        device.run(
            self._job(device, tmp_path), timeout_s=120.0, progress=lambda stage, *_rest: told.append(stage)
        )
        assert "load" in told
