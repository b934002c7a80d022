"""The folder board/ as a whole: it runs where there is nothing newer than Python 3.6, and wherever it lies."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import board
from tests.devices.models import write_classifier

FOLDER = Path(board.__file__).parent
SOURCES = sorted(FOLDER.rglob("*.py"))
RUNTIMES = {"onnxruntime", "openvino"}  # others are imported by name
OPTIONAL = RUNTIMES | {"PIL"}  # images, where there are any
WITHOUT_NUMPY = (
    "", ".arrive", ".booted", ".commands", ".files", ".identity", ".infer", ".keeper", ".machine", ".process",
    ".remote", ".tensorrt.library", ".tensorrt.record", ".verdict",
)  # fmt: skip

every_source = pytest.mark.parametrize(
    "source", SOURCES, ids=lambda path: path.relative_to(FOLDER).as_posix()
)


def imports(source: Path) -> Iterator[tuple[str, bool]]:
    """Top-level name ("" for a relative import) and whether it is imported inside a function."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    within = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for inner in ast.walk(node)
        if inner is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], node in within
        elif isinstance(node, ast.ImportFrom):
            yield "" if node.level else (node.module or "").partition(".")[0], node in within


@every_source
def test_its_syntax_is_that_of_python_3_6(source: Path) -> None:
    ast.parse(source.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_nothing_it_calls_is_newer_than_python_3_6() -> None:
    flags = ["--target=3.6-", "--violations", "--no-tips", "--eval-annotations"]
    command = [sys.executable, "-c", "import vermin; vermin.main()", *flags, *map(str, SOURCES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@every_source
def test_it_imports_itself_by_relative_names_the_standard_library_and_numpy_only(source: Path) -> None:
    outside = {name for name, _ in imports(source) if name and name not in sys.stdlib_module_names}
    assert outside <= {"numpy"} | OPTIONAL


@every_source
def test_runtimes_and_pillow_are_imported_inside_functions(source: Path) -> None:
    assert not {name for name, within in imports(source) if name in OPTIONAL and not within}


def test_what_needs_no_numpy_imports_none() -> None:
    lines = [f"import edgekit.board{name}" for name in WITHOUT_NUMPY]
    code = "\n".join(["import sys", *lines, "print('numpy' in sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- started as a package, in a folder, by path ------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder that holds board/ and, beside it, what would be imported were the folder on sys.path."""
    place = tmp_path / "place"
    shutil.copytree(FOLDER, place / "board", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("json", "numpy", "onnxruntime"):
        (place / f"{name}.py").write_text("raise SystemExit('a neighbour was imported')")
    return place


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    unset = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    cleaned = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**cleaned, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("program", ["board", "board/__main__.py"])
def test_by_path_neither_the_neighbours_nor_the_working_folder_are_imported(
    copied: Path, program: str
) -> None:
    done = start(str(copied / program), "describe", cwd=copied)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cores"] > 0


def test_started_by_its_file_it_leaves_nothing_behind(copied: Path) -> None:
    before = sorted(copied.rglob("*"))
    start(str(copied / "board" / "__main__.py"), "describe", cwd=copied)
    assert sorted(copied.rglob("*")) == before


def test_it_measures_beside_the_work_of_a_device(copied: Path) -> None:
    """As a module of the working folder; the worker, started by path, does not see the neighbours."""
    write_classifier(copied / "net.onnx")
    entry = {"id": "a", "runtime": "onnxruntime", "path": "net.onnx"}
    (copied / "job.json").write_text(json.dumps({"schema": 1, "seconds": 0, "entries": [entry]}))
    (copied / "json.py").unlink()  # -m itself imports from the working folder
    done = start("-m", "board", "run", "job.json", cwd=copied)
    assert done.returncode == 0, done.stderr
    assert json.loads((copied / "result.json").read_text())["entries"]["a"]["status"] == "ok"


def test_it_starts_as_a_module_of_the_package(tmp_path: Path) -> None:
    done = start("-m", "edgekit.board", "describe", cwd=tmp_path, PYTHONPATH=str(FOLDER.parent.parent))
    assert json.loads(done.stdout)["cores"] > 0


def test_its_folders_do_not_hide_the_runtimes_of_their_names(tmp_path: Path) -> None:
    """board/tensorrt and board/sessions/onnxruntime.py are no top-level modules of the worker."""
    entries = [
        {"id": name, "runtime": name, "path": str(tmp_path / "none"), "options": {}}
        for name in ("tensorrt", "onnxruntime")
    ]
    (tmp_path / "job.json").write_text(json.dumps({"schema": 1, "seconds": 0, "entries": entries}))
    assert start(str(FOLDER), "run", "job.json", cwd=tmp_path).returncode == 0
    results = json.loads((tmp_path / "result.json").read_text())["entries"]
    assert "onnxruntime" in results["onnxruntime"]["stderr"][-1]
    assert "board" not in results["tensorrt"]["cause"]
    assert results["tensorrt"]["cause"].startswith(("ImportError", "ModuleNotFoundError", "RuntimeError"))


@pytest.mark.parametrize("job", ["", "[]", '{"schema": 99}'])
def test_what_is_no_job_is_refused_in_one_line(tmp_path: Path, job: str) -> None:
    (tmp_path / "job.json").write_text(job)
    done = start(str(FOLDER), "run", "job.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("run: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="C.UTF-8 is Linux's")
def test_without_a_locale_it_reads_every_file_name(tmp_path: Path) -> None:
    work = tmp_path / "Prüf"
    work.mkdir()
    write_classifier(work / "Netz-ü.onnx")
    entry = {"id": "a", "runtime": "onnxruntime", "path": "Netz-ü.onnx"}
    content = json.dumps({"schema": 1, "seconds": 0, "entries": [entry]}, ensure_ascii=False)
    (work / "job.json").write_text(content, encoding="utf-8")
    # So newer Pythons are made to behave as 3.6 does by itself.
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = start(str(FOLDER), "run", str(work / "job.json"), cwd=tmp_path, **plain)
    assert done.returncode == 0, done.stderr
    assert json.loads((work / "result.json").read_text())["entries"]["a"]["status"] == "ok"


# ---- on an old Python itself -------------------------------------------------------------------------------


def old_pythons() -> list[str]:
    """Interpreters from 3.6 to 3.8: PYTHON36 of the environment, pyenv's, those on the path."""
    places = [os.environ.get("PYTHON36")]
    for minor in (6, 7, 8):
        built = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
        places += map(str, built) if built else [shutil.which(f"python3.{minor}")]
    return [place for place in places if place]


@pytest.fixture(scope="module", params=old_pythons() or [None], ids=lambda path: path or "none")
def old_python(request: pytest.FixtureRequest) -> str:
    if request.param is None:
        pytest.skip("no Python from 3.6 to 3.8 is here; PYTHON36 names one")
    version = subprocess.run([request.param, "-V"], capture_output=True, text=True, check=False).stdout
    if not re.match(r"Python 3\.[678]\.", version):
        pytest.skip(f"{request.param} does not run, or is not between 3.6 and 3.8: {version}")
    return str(request.param)


def run_old(python: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In an environment without a locale, which is where 3.6 differs most."""
    kept = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C", **environment}
    return subprocess.run([python, *arguments], env=kept, capture_output=True, encoding="utf-8", check=False)


def has(python: str, module: str) -> bool:
    return run_old(python, "-c", f"import {module}").returncode == 0


def test_an_old_python_compiles_every_file(old_python: str) -> None:
    code = "import sys\nfor path in sys.argv[1:]:\n    compile(open(path, encoding='utf-8').read(), path, 'exec')"
    done = run_old(old_python, "-c", code, *map(str, SOURCES))
    assert done.returncode == 0, done.stderr


def test_an_old_python_describes_its_machine(old_python: str) -> None:
    done = run_old(old_python, str(FOLDER), "describe")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["python"].startswith(("3.6.", "3.7.", "3.8."))


def test_an_old_python_imports_every_module(old_python: str) -> None:
    if not has(old_python, "numpy"):
        pytest.skip(f"{old_python} has no numpy")
    names = [
        ".".join(("board", *path.relative_to(FOLDER).with_suffix("").parts)).replace(".__init__", "")
        for path in SOURCES
    ]
    code = f"import sys; sys.path.insert(0, {str(FOLDER.parent)!r}); import board\n" + "\n".join(
        f"import {name}" for name in names
    )
    done = run_old(old_python, "-c", "import importlib\n" + code)
    assert done.returncode == 0, done.stderr


def test_an_old_python_measures(old_python: str, tmp_path: Path) -> None:
    if not has(old_python, "onnxruntime"):
        pytest.skip(f"{old_python} has no onnxruntime")
    work = tmp_path / "Prüf"
    work.mkdir()
    model = write_classifier(work / "Netz.onnx", opset=13, ir_version=7)  # the last 3.6 has ONNX Runtime 1.10
    np.save(work / "Stichprobe-ü.npy", np.ones((3, 3, 8, 8), np.float32))
    evaluate = {"inputs": {"input": "Stichprobe-ü.npy"}, "outputs": "Ergebnis-ü"}
    entry = {"id": "ü", "runtime": "onnxruntime", "path": model.name, "evaluate": evaluate}
    content = json.dumps({"schema": 1, "seconds": 0.1, "entries": [entry]}, ensure_ascii=False)
    (work / "job.json").write_text(content, encoding="utf-8")
    done = run_old(old_python, str(FOLDER), "run", str(work / "job.json"))
    assert done.returncode == 0, done.stderr
    result = json.loads((work / "result.json").read_text(encoding="utf-8"))
    assert result["entries"]["ü"]["status"] == "ok", result["entries"]["ü"]
    assert np.load(work / result["entries"]["ü"]["outputs"]["scores"]).shape == (3, 4)
    assert result["facts"]["versions"]["numpy"]
