"""A container of an image as a device: the runner in it, files in a folder that it shares with this machine."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.board.files import read_json
from edgekit.devices.base import JobProgress
from edgekit.docker.emulation import check_runs, host_platform
from edgekit.docker.engines import Engine
from edgekit.docker.starting import run_in
from edgekit.errors import StageError
from edgekit.types import Origin

__all__ = ["ContainerDevice"]

SHARED = "/edgekit-work"
RUNNER = ("python3", "/bundle/board/__main__.py")


class ContainerDevice:
    """Containers of an image with a bundle, one for each order. `work`: the folder that they share with this machine.

    Its measurements are this machine's, or an emulator's where the image is of another platform: never a board's.
    """

    def __init__(
        self, engine: Engine, tag: str, platform: str, work: Path, options: Sequence[str] = ()
    ) -> None:
        check_runs(platform)
        self.engine, self.tag, self.platform, self.options = engine, tag, platform, tuple(options)
        self.work = work
        self.work.mkdir(parents=True, exist_ok=True)
        self.work.chmod(0o777)  # the image's user is no user of this machine

    @property
    def name(self) -> str:
        return self.tag

    @property
    def is_here(self) -> bool:
        """Not by what measuring asks: the container has packages of its own."""
        return False

    @property
    def origin(self) -> Origin:
        return "host" if self.platform == host_platform() else "emulated"

    def describe(self) -> Mapping[str, Any]:
        """The board's `describe`, from inside of the image."""
        lines: list[str] = []
        self._run([*RUNNER, "describe"], lines.append)
        facts = next((line for line in reversed(lines) if line.startswith("{")), None)
        if facts is None:
            raise StageError("describe", f"{self.tag} told nothing of itself: {' / '.join(lines[-3:])}")
        described: dict[str, Any] = json.loads(facts)
        return described

    def push(self, files: Sequence[tuple[Path, str]]) -> None:
        """Copy files into the shared folder, readable for the image's user."""
        for path, name in files:
            target = self.work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        self._open_up()

    def pull(self, names: Sequence[str], folder: Path) -> tuple[Path, ...]:
        """Copy files of the shared folder into `folder` under the same names."""
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.work / name, folder / name)
        return tuple(folder / name for name in names)

    def run(
        self, job: Mapping[str, Any], *, timeout_s: float, progress: JobProgress | None = None
    ) -> Mapping[str, Any]:
        """One job in a fresh container. Raises StageError when it dies, or has not ended after `timeout_s`."""
        stem = f"job-{uuid.uuid4().hex}"
        (self.work / f"{stem}.json").write_text(
            json.dumps({**job, "result": f"{stem}.result.json"}), encoding="utf-8"
        )
        self._open_up()

        def tell(line: str) -> None:
            if progress and line.startswith('{"progress"'):
                told = json.loads(line)["progress"]
                progress(told["stage"], told["entry"], told["done"], told["total"])

        self._run([*RUNNER, "run", f"{SHARED}/{stem}.json"], tell, timeout_s)
        try:
            result: dict[str, Any] = read_json(str(self.work / f"{stem}.result.json"))
        except (OSError, ValueError) as problem:
            raise StageError("measure", f"no result came back of {self.tag}: {problem}") from problem
        return result

    def _run(self, words: Sequence[str], tell: Any, timeout_s: float | None = None) -> None:
        run_in(
            self.engine,
            self.tag,
            words,
            platform=self.platform,
            volumes={self.work.resolve(): SHARED},
            options=self.options,
            tell=tell,
            timeout_s=timeout_s,
        )

    def copy_bundle(self) -> Path:
        """The bundle that the image holds, in the shared folder. Raises StageError where it holds none."""
        code = f"import shutil; shutil.copytree('/bundle', '{SHARED}/bundle', copy_function=shutil.copyfile)"
        self._run(["python3", "-c", code], None)
        return self.work / "bundle"

    def _open_up(self) -> None:
        for path in self.work.rglob("*"):
            if not path.is_symlink() and path.stat().st_uid != 10001:
                path.chmod(0o777 if path.is_dir() else 0o644)
