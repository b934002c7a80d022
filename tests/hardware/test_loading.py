"""Target files: what is read, and the one line that a mistake earns."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import TargetFileError
from edgekit.hardware import load_target_file
from edgekit.hardware.loading import facts_of


def write(folder: Path, text: str, name: str = "my-board") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(TargetFileError) as caught:
        load_target_file(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(f"{path}").removeprefix(": ")


def test_a_right_file_is_read(tmp_path: Path, board_text: str) -> None:
    target = load_target_file(write(tmp_path, board_text))
    assert target.name == "my-board"
    assert target.memory_bytes == 2**30
    assert target.model_bytes == 2**29
    assert target.runtimes[0].precisions == ("fp32", "int8")


@pytest.mark.parametrize(
    ("right", "wrong", "key", "allowed"),
    [
        ('"aarch64"', '"armv7"', 'architecture: "armv7"', "allowed: aarch64, x86_64"),
        ('name = "onnxruntime"', 'name = "onnx"', 'runtimes[0].name: "onnx"', "onnxruntime, openvino, tensorrt"),
        ('name = "onnxruntime"', 'name = "onnx-runtime"', 'runtimes[0].name: "onnx-runtime"', "mean onnxruntime?"),
        ('name = "onnxruntime"', "name = 3", "runtimes[0].name: 3", "text"),
        ('"fp32", "int8"]', '"fp32", "int7"]', 'runtimes[0].precisions[1]: "int7"', "int8, int8-dynamic, w4, w8"),
        ("{ fp32 = 8 }", "{ fp31 = 8 }", "channels.multiples.fp31: no such key", "bf16, fp16, fp32"),
        ("{ fp32 = 8 }", "{ fp32 = 0 }", "channels.multiples.fp32: 0", "a whole number at least 1"),
        ("{ fp32 = 8 }", '{ fp32 = "8" }', 'channels.multiples.fp32: "8"', "a whole number at least 1"),
        ("weight_bits = 8", "weight_bits = 9", "int8[0].weight_bits: 9", "allowed: 7, 8"),
        ("opset_max = 17", "opset = 17", "runtimes[0]", "opset_max"),
        ("[channels]", "[chanels]", "chanels: no such key", "channels"),
        ("source = [\"sheet\"]\n\n[channels]", "\n[channels]", "memory.source: this key is missing", "a list of"),
        ('versions = ">=1.22"', 'versions = "new"', 'runtimes[0].versions: "new"', "text that matches"),
        ('models = ["My Board"]', "models = 3", "identity.models: 3", "a list"),
        ('why = "SDOT"', "", "int8[0].why: this key is missing", "text that is not empty"),
        ('why = "SDOT"\nsource = ["sheet"]', 'why = "SDOT"', "int8[0].source: this key is missing", "a list"),
        ('why = "SDOT"\nsource = ["sheet"]', 'why = "SDOT"\nsource = []', "int8[0].source: []", "at least one"),
        ('models = ["My Board"]', 'models = ["My Board"]\nverified = 1', "identity.verified: 1", "true, false"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_key_and_what_is_allowed(
    tmp_path: Path, board_text: str, right: str, wrong: str, key: str, allowed: str
) -> None:
    assert right in board_text
    message = complaint(tmp_path, board_text.replace(right, wrong, 1))
    assert message.startswith(key)
    assert allowed in message


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('name = "my-board"', 'name = "other"', 'name: "other"; allowed: the file\'s name, "my-board"'),
        ('models = ["My Board"]\nsource = ["sheet"]', 'models = ["My Board"]\nsource = ["web"]',
         'identity.source: no source "web"; allowed: sheet'),
        ('sheet = "Its data sheet"', 'sheet = "Its data sheet"\nweb = "A page"', "sources.web: no section names it"),
        ('weight_bits = 8', 'weight_bits = 8\nany_of = ["asimddp"]', "int8[0]: the last row asks for CPU features"),
        ('precisions = ["fp32", "int8"]', 'precisions = ["fp32"]', "int8: rows, but no runtime has int8"),
        ('"fp32", "int8"]', '"fp32", "int8", "int8"]', "runtimes[0].precisions: one stands there twice"),
        ("[1_073_741_824]", "[2_000, 1_000]", "memory.sizes_bytes: the sizes are not in order"),
    ],
)  # fmt: skip
def test_what_types_cannot_say_is_checked_too(
    tmp_path: Path, board_text: str, right: str, wrong: str, message: str
) -> None:
    assert right in board_text
    assert complaint(tmp_path, board_text.replace(right, wrong, 1)).startswith(message)


def test_a_precision_cannot_be_had_and_rejected(tmp_path: Path, board_text: str) -> None:
    lack = '\n[rejected.int8]\nreason = "none"\nsource = ["sheet"]\n'
    assert complaint(tmp_path, board_text + lack).startswith("rejected.int8: a runtime of this target has it")


def test_a_runtime_stands_there_once(tmp_path: Path, board_text: str) -> None:
    again = '\n[[runtimes]]\nname = "onnxruntime"\nversions = ">=1"\nprecisions = ["fp32"]\nopset_max = 13\n'
    message = complaint(tmp_path, board_text + again + 'source = ["sheet"]\n')
    assert message.startswith('runtimes[1].name: "onnxruntime" stands there twice')


def test_a_syntax_error_is_told_with_its_line(tmp_path: Path, board_text: str) -> None:
    assert "line 2" in complaint(tmp_path, board_text.replace('"A board of mine"', "A board of mine"))


def test_a_missing_file_is_a_target_file_error(tmp_path: Path) -> None:
    with pytest.raises(TargetFileError, match="cannot be read"):
        load_target_file(tmp_path / "none.toml")


def test_a_binary_file_is_a_target_file_error(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetFileError, match="not UTF-8"):
        load_target_file(path)


def test_facts_are_found_at_every_depth(tmp_path: Path, board_text: str) -> None:
    needs = (
        '\n[runtimes.requires.int8]\nany_of = ["asimddp"]\nreason = "slow"\nsource = ["sheet"]\n\n[[int8]]'
    )
    target = load_target_file(write(tmp_path, board_text.replace("\n[[int8]]", needs)))
    keys = [key for key, _ in facts_of(target)]
    assert keys == [
        "identity",
        "memory",
        "channels",
        "runtimes[0]",
        "runtimes[0].requires.int8",
        "int8[0]",
    ]
