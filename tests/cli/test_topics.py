"""`edgekit help` and docs/functions.md say the same, and each of their examples works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from edgekit.cli import main
from edgekit.cli.options import preprocess_options, read_preprocess
from edgekit.cli.topics import TOPICS
from edgekit.compress import TrainConfig, finetune
from edgekit.data import load_preprocess, make_splits, open_source
from edgekit.measure import find_metric
from edgekit.model import load_module, locate
from edgekit.types import Preprocess

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "functions.md"
EXAMPLES = re.findall(r"^```python\n# (\S+)\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The examples of the document, as files in the current folder."""
    for name, code in EXAMPLES:
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_document_and_the_terminal_have_the_same_examples() -> None:
    assert {name for name, _ in EXAMPLES} == {"net.py", "data.py", "metric.py", "loss.py", "step.py"}
    for topic, (name, code) in zip(("model", "data", "metric", "loss", "step"), EXAMPLES, strict=True):
        assert textwrap.indent(f"# {name}\n{code}", "    ") in TOPICS[topic]
        head = TOPICS[topic].split("\n    #")[0].strip()
        assert head in DOCUMENT.read_text()


@pytest.mark.parametrize("option", ["loss", "step"])
def test_model_data_metric_and_training_run_together(examples: Path, option: str) -> None:
    source = open_source("data.py:load", Preprocess(), examples / "spool", None)
    splits = make_splits(source, seed=0, calibration_samples=16)
    assert splits.train is not None
    teacher = load_module(locate("net.py:make", None))
    student = load_module(locate("net.py:make", None))
    config = TrainConfig(epochs=1, batch_size=32, device="cpu", **{option: f"{option}.py:{option}"})  # type: ignore[arg-type]
    report = finetune(student, splits.train, config, teacher=teacher)
    assert report.steps > 0
    scores = find_metric("metric.py:score")({"scores": np.eye(10)[[3, 4]]}, np.array([3, 5]))
    assert list(scores) == [1.0, 0.0]


def test_the_example_of_an_npz_is_read_with_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(
        r"^    import numpy as np\n\n    x = .*?\n\n", TOPICS["data"], re.DOTALL | re.MULTILINE
    )
    assert code in DOCUMENT.read_text()
    exec(textwrap.dedent(code), {})
    source = open_source("data.npz", Preprocess(), tmp_path / "spool", None)
    assert (len(source), source.classes) == (100, ("cat", "dog"))
    assert source.take(np.arange(3)).labels.tolist() == [0, 1, 0]


def test_the_examples_of_image_folders_are_read(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name in re.findall(r"photos/\S+", TOPICS["data"]):
        columns = {"train": "b", "val": "b"}
        folder = tmp_path / columns.get(name.split("/")[1], "a" if name.count("/") == 2 else "c")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (8, 8), (len(name), 90, 90)).save(folder / name)
    plain, divided, bare = (
        open_source(tmp_path / column / "photos", Preprocess(), tmp_path / "spool", None) for column in "abc"
    )
    assert plain.classes == ("cat", "dog")
    assert set(divided.parts) == {"train", "val"}
    assert (len(bare), bare.labelled) == (2, False)


def test_the_lines_of_preprocessing_are_taken(tmp_path: Path) -> None:
    text = TOPICS["preprocessing"]
    (tmp_path / "p.toml").write_text(textwrap.dedent(text.partition("# preprocess.toml\n")[2]))
    assert load_preprocess(tmp_path / "p.toml").std == (0.229, 0.224, 0.225)
    taken: list[Preprocess] = []

    @click.command()
    @preprocess_options
    def take(**options: object) -> None:
        taken.append(read_preprocess(options))

    lines = [line.replace("A,B,C", "1,2,3") for line in re.findall(r"  (--.*)", text) if " M " not in line]
    for line in lines:
        words = re.split(r" {3,}", line)[0].split()
        assert CliRunner().invoke(take, words, catch_exceptions=False).exit_code == 0, line
    assert len(taken) == len(lines) == 11
    assert taken[-1] == Preprocess(scale=255, resize=(640, 640), letterbox=114)


@pytest.mark.parametrize("topic", TOPICS)
def test_each_topic_is_told(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["help", topic])
    assert ended.value.code == 0
    assert capsys.readouterr().out == TOPICS[topic]


def test_an_unknown_topic_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["help", "metrics"])
    assert ended.value.code == 2
    assert "did you mean metric?" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_answers(shell: str, tmp_path: Path) -> None:
    asked = {
        "_EDGEKIT_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "edgekit tar",
        "COMP_CWORD": "tar" if shell == "fish" else "1",
    }
    code = "from edgekit.cli import main; main([])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "targets" in done.stdout, done.stderr


def test_the_help_names_completion_and_topics(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in ((["--help"], "_EDGEKIT_COMPLETE"), (["build", "--help"], "edgekit help TOPIC")):
        with pytest.raises(SystemExit):
            main(arguments)
        assert words in capsys.readouterr().out


def test_the_help_says_what_a_bare_latency_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build", "--help"])
    assert "or 2 (milliseconds); auto: the fastest" in " ".join(capsys.readouterr().out.split())
