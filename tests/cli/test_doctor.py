"""`edgekit doctor`."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekit.backends.table import usable_backends
from edgekit.cli import doctor as module
from edgekit.cli.doctor import COMPONENTS, Component, doctor, examine


def package(folder: Path, name: str, source: str) -> Component:
    """An installed package whose import runs `source`."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    return Component(name, "runtime", name, ((name, name),))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_a_package_that_imports_is_usable(site: Path) -> None:
    found = examine(package(site, "fine_runtime", ""))
    assert (found.state, found.versions) == ("usable", {"fine_runtime": "1.2"})


def test_a_package_that_raises_on_import_is_broken_with_its_last_line(site: Path) -> None:
    found = examine(package(site, "odd_runtime", "raise ImportError('libodd.so.3: cannot open')"))
    assert (found.state, found.detail) == ("broken", "ImportError: libodd.so.3: cannot open")
    assert found.remedy == "pip install --force-reinstall odd_runtime"


def test_a_package_that_dies_on_import_is_broken_with_its_signal(site: Path) -> None:
    found = examine(package(site, "dead_runtime", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert (found.state, found.detail) == ("broken", "its import was ended by SIGSEGV")


def test_a_package_that_hangs_on_import_is_broken(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 1)
    found = examine(package(site, "slow_runtime", "import time; time.sleep(60)"))
    assert (found.state, found.detail) == ("broken", "its import did not end within 1 s")


def test_a_missing_package_has_the_exact_pip_line() -> None:
    found = examine(Component("none", "runtime", "openvino", (("no-such-package-here", "no_such"),)))
    assert (found.state, found.remedy) == ("missing", 'pip install "edgekit[openvino]"')
    assert found.detail == "not installed: no-such-package-here"


def test_files_in_the_current_folder_do_not_stand_for_packages(
    site: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = package(site, "real_runtime", "")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "real_runtime.py").write_text("raise ImportError('the wrong file')")
    monkeypatch.chdir(elsewhere)
    assert examine(check).state == "usable"


def test_every_backend_is_checked_and_missing_means_the_same() -> None:
    checks = {check.name: check for check in COMPONENTS}
    for name, remedy in usable_backends().items():
        absent = [package for package, _ in checks[name].packages if not installed(package)]
        assert bool(absent) == bool(remedy)


def installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture
def few(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two quick checks instead of the real ones."""
    missing = Component("lost", "data", "images", (("no-such-package-here", "no_such"),))
    monkeypatch.setattr(module, "COMPONENTS", (package(site, "fine_runtime", ""), missing))


@pytest.mark.usefixtures("few")
def test_json_holds_checks_machine_and_targets() -> None:
    answer = json.loads(CliRunner().invoke(doctor, ["--json"]).stdout)
    assert [check["state"] for check in answer["checks"]] == ["usable", "missing"]
    assert answer["usable"] is True
    assert answer["machine"]["cores"] >= 1
    assert set(answer["targets"]) & {"generic-cpu", "generic-arm64"} or answer["targets"] == []


@pytest.mark.usefixtures("few")
def test_the_table_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(doctor, [])
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert 'lost is missing: pip install "edgekit[images]"' in result.stdout


@pytest.mark.usefixtures("few")
def test_one_usable_runtime_ends_with_zero() -> None:
    assert CliRunner().invoke(doctor, ["--json"], standalone_mode=False).return_value == 0


def test_no_usable_runtime_ends_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Component("lost", "runtime", "openvino", (("no-such-package-here", "no_such"),))
    monkeypatch.setattr(module, "COMPONENTS", (missing,))
    assert CliRunner().invoke(doctor, ["--json"], standalone_mode=False).return_value == 1


def test_help_has_an_example() -> None:
    assert "edgekit doctor --json" in CliRunner().invoke(doctor, ["--help"]).stdout
