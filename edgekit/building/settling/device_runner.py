"""Settling's jobs on a device; each that is finished stays in the store, so that a rerun begins where one ended."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.board.runner import JobError, JobRunner
from edgekit.building.measuring import CONDITIONS, RUNNING
from edgekit.devices import Device
from edgekit.errors import StageError
from edgekit.files import sha256_file
from edgekit.progress import Reporter, Step
from edgekit.store import Store

__all__ = ["DeviceRunner"]

ENTRY_TIMEOUT_S = 900.0
STAGE = "settle"


class DeviceRunner(JobRunner):
    """Runs the jobs of settling on `device`. `facts`: what it says of itself, and whether it is emulated.

    `take` hashes a file when it is given; a job's stored result counts only for the same job, files, board, versions
    and code of board/. A job in which a candidate failed is not kept, since a rerun may not repeat it.
    """

    def __init__(self, device: Device, facts: Mapping[str, Any], store: Store, reporter: Reporter) -> None:
        self._device, self._facts, self._store, self._reporter = device, facts, store, reporter
        self._files: dict[str, tuple[Path, str]] = {}
        self._aside_count = 0

    def facts(self) -> Mapping[str, Any]:
        """See JobRunner."""
        return self._facts

    def take(self, path: str, name: str) -> str:
        """See JobRunner; pushed with the job that names it."""
        self._files[name] = (Path(path), sha256_file(path))
        return name

    def place(self, name: str) -> str:
        """See JobRunner."""
        return name

    def fetch(self, names: Sequence[str]) -> list[str]:
        """See JobRunner; `run` has brought them here."""
        return list(names)

    def run(self, job: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        """See JobRunner. Raises DeviceError for a board that is out of reach: what is finished stays finished."""
        from edgekit.devices.ssh.code import board_code

        files = self._of(job)
        parts = {
            "job": job,
            "files": {name: digest for name, (_, digest) in files.items()},
            "device": self._device.name,
            "machine": {name: self._facts.get(name) for name in CONDITIONS},
            "versions": {name: self._facts["versions"].get(name) for name in RUNNING},
            "emulated": bool(self._facts.get("emulated")),
            "code": board_code().digest,
        }

        def make(folder: Path) -> Mapping[str, Any]:
            with self._reporter.step(f"On {self._device.name}: {what}") as step:
                result = self._measured(job, files, folder, step)
            if self._is_worth_keeping(result):
                return {"result": result}
            raise _NotKeptError(self._aside(result, folder))

        try:
            result: Mapping[str, Any] = self._store.entry(STAGE, parts, make).meta["result"]
        except _NotKeptError as told:
            result = told.result
        except StageError as error:
            raise JobError(str(error)) from error
        return result

    def _of(self, job: Mapping[str, Any]) -> dict[str, tuple[Path, str]]:
        """The files that the job's entries need: those that stand in the folders of their names."""
        folders = {entry["path"].partition("/")[0] for entry in job["entries"]}
        return {name: file for name, file in self._files.items() if name.partition("/")[0] in folders}

    def _measured(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, tuple[Path, str]],
        folder: Path,
        step: Step,
    ) -> dict[str, Any]:
        """The result, its outputs in `folder` and named by where they lie."""
        self._device.push([(path, name) for name, (path, _) in files.items()])
        raw = self._device.run(
            job,
            timeout_s=ENTRY_TIMEOUT_S * len(job["entries"]) + 60.0,
            progress=lambda stage, name, done, total: step.advance(done / max(total, 1), f"{stage} {name}"),
        )
        entries = {}
        for name, entry in raw["entries"].items():
            outputs = entry.get("outputs", {})
            paths = self._device.pull(list(outputs.values()), folder)
            entries[name] = {**entry, "outputs": dict(zip(outputs, map(str, paths), strict=True))}
        return {**raw, "entries": entries}

    def _is_worth_keeping(self, result: Mapping[str, Any]) -> bool:
        return all(entry["status"] == "ok" or "+" in name for name, entry in result["entries"].items())

    def _aside(self, result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """The result with its outputs where they outlive the store's draft."""
        self._aside_count += 1
        place = self._store.workspace(f"settling-{self._aside_count}")
        shutil.copytree(folder, place / "outputs")
        entries = {
            name: {
                **entry,
                "outputs": {
                    output: str(place / "outputs" / Path(path).relative_to(folder))
                    for output, path in entry["outputs"].items()
                },
            }
            for name, entry in result["entries"].items()
        }
        return {**result, "entries": entries}


class _NotKeptError(Exception):
    def __init__(self, result: Mapping[str, Any]) -> None:
        super().__init__("not kept")
        self.result = result
