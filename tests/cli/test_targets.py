"""`edgekit targets`, as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.cli import main
from edgekit.devices import LocalDevice
from edgekit.hardware import data_dir


@pytest.fixture(autouse=True)
def _empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "80")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["targets", *arguments])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_the_table_lists_every_board_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    for path in data_dir("targets").glob("*.toml"):
        assert path.stem in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_list_as_json_names_runtimes_and_precisions(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["jetson-nano"]["runtimes"] == {"tensorrt": ["fp32", "fp16"]}
    assert rows["jetson-nano"]["memory_bytes"] == 4 * 2**30


def test_show_says_why_jetson_nano_has_no_int8(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "jetson-nano")
    words = " ".join(out.split())
    assert code == 0
    assert "tensorrt int8" in words
    assert "Maxwell (sm_53)" in words
    assert "25.6 GB/s" in words
    assert max(map(len, out.splitlines())) <= 80


def test_show_as_json_carries_facts_and_what_is_tried(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "jetson-nano", "--json")
    found = json.loads(out)
    assert [item["precision"] for item in found["tried"]] == ["fp32", "fp16"]
    assert "tensorrt int8" in [item["what"] for item in found["rejected"]]
    assert found["target"]["bandwidth"] == {"gb_s": 25.6, "source": ["memory"], "verified": True}


@pytest.mark.parametrize("path", sorted(data_dir("targets").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_board_can_be_shown_and_passes_its_check(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "show", path.stem)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert run(capsys, "check", str(path))[0] == 0


def test_an_unknown_name_gets_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "show", "rasberry-pi-5")
    assert (code, out) == (2, "")
    assert err.startswith('edgekit: no target "rasberry-pi-5"; did you mean raspberry-pi-5')
    assert err.count("\n") == 1


def test_check_names_file_key_and_allowed_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (data_dir("targets") / "generic-cpu.toml").read_text(encoding="utf-8")
    path = tmp_path / "generic-cpu.toml"
    path.write_text(text.replace('architecture = "x86_64"', 'architecture = "x86"'), encoding="utf-8")
    code, _, err = run(capsys, "check", str(path))
    assert code == 2
    assert err == f'edgekit: {path}: architecture: "x86"; allowed: aarch64, x86_64\n'


def test_a_hidden_board_is_told_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "targets").mkdir()
    text = (data_dir("targets") / "generic-cpu.toml").read_text(encoding="utf-8")
    (tmp_path / "targets" / "generic-cpu.toml").write_text(text, encoding="utf-8")
    code, out, err = run(capsys, "--json")
    assert code == 0
    assert json.loads(out)
    assert "is used for generic-cpu instead of edgekit's own" in err


def test_probe_tells_the_machine_its_runtimes_and_its_targets(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "probe", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["machine"]["arch"] in ("x86_64", "aarch64")
    assert set(found["runtimes"]) == {"litert", "onnxruntime", "openvino", "tensorrt"}
    generic = {"x86_64": "generic-cpu", "aarch64": "generic-arm64"}[found["machine"]["arch"]]
    assert found["targets"][generic] == []
    assert found["targets"]["jetson-nano"]


def test_probe_prints_a_table_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "probe")
    assert code == 0
    assert "why not" in out
    assert max(map(len, out.splitlines())) <= 80


FAKE_PI = {
    "machine": "Raspberry Pi 4 Model B Rev 1.4", "arch": "aarch64", "cpu": "Cortex-A72", "features": ["asimd", "fp"],
    "accelerators": [], "cores": 4, "cpus": [0, 1, 2, 3], "memory_bytes": 5 * 2**30, "os": "Fake Linux 1.0",
    "governor": "ondemand", "versions": {"tflite-runtime": "2.14.0", "onnxruntime": "1.5.0"}, "emulated": False,
    "runtimes": ["litert", "onnxruntime"], "free_disk_bytes": 3 * 2**30,
}  # fmt: skip


def probe_fake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **changes: object
) -> tuple[dict[str, Any], str]:
    """What `probe` says of a board that is not here, as JSON and as text."""
    monkeypatch.setattr(LocalDevice, "describe", lambda _self: {**FAKE_PI, **changes})
    told = json.loads(run(capsys, "probe", "--json")[1])
    return told, run(capsys, "probe")[1]


def test_probe_shows_each_contradiction_with_file_and_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, text = probe_fake(capsys, monkeypatch)
    assert told["proposed"] == "raspberry-pi-4"
    first = told["nearest"][0]
    assert Path(first["file"]).name == "raspberry-pi-4.toml"
    assert [each["key"] for each in first["contradictions"]] == ["memory.sizes_bytes", "runtimes[1].versions"]
    assert "It is raspberry-pi-4: --target raspberry-pi-4" in text
    assert "raspberry-pi-4: contradicts its description" in text
    words = " ".join(text.split())
    assert "memory.sizes_bytes: raspberry-pi-4 has 1 or 2 or 4 or 8 GiB, this machine 5.0 GiB" in words
    assert "runtimes[1].versions: Raspberry Pi 4 Model B Rev 1.4 has ONNX Runtime 1.5.0" in words
    assert "free disk 3.0 GiB" in words
    assert "emulated no" in words
    assert "identity.models: raspberry-pi-5 calls itself" in words or len(told["nearest"]) == 3
    assert max(map(len, text.splitlines())) <= 80


def test_probe_says_of_an_emulated_board_that_it_is_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, text = probe_fake(
        capsys, monkeypatch, emulated=True, machine="a aarch64 machine", free_disk_bytes=None
    )
    assert told["emulated"] is True
    assert told["free_disk_bytes"] is None
    assert "its times say nothing of a board" in " ".join(text.split())
    assert "free disk" not in text


def test_probe_of_a_machine_that_is_no_target_shows_the_nearest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told, text = probe_fake(capsys, monkeypatch, arch="riscv64", machine="Fake Visionfive")
    assert told["proposed"] is None
    assert "It is none of the targets: edgekit targets new NAME" in text
    assert {each["contradictions"][0]["key"] for each in told["nearest"]} == {"architecture"}


@pytest.mark.parametrize("command", [(), ("show",), ("check",), ("probe",)])
def test_every_help_has_an_example(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert "edgekit targets" in out.partition("Example")[2]
