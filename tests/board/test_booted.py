"""Which start of a machine it is, and whether its processor is a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.board import booted
from edgekit.board.machine import describe

X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\n"
ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"


@pytest.mark.parametrize(
    ("machine", "told", "expected"),
    [
        ("aarch64", X86, True),
        ("aarch64", ARM, False),
        ("x86_64", ARM, True),
        ("x86_64", X86, False),
        ("riscv64", X86, False),
        ("aarch64", "", False),
    ],
)
def test_the_kernel_tells_the_real_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, told: str, expected: bool
) -> None:
    monkeypatch.setattr(booted.platform, "machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(told)
    assert booted.is_emulated(str(tmp_path / "cpuinfo")) is expected


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/usr/bin/qemu-aarch64-static", True),
        ("/usr/libexec/qemu-binfmt/aarch64-binfmt-P", True),
        ("/run/rosetta/rosetta", True),
        ("/usr/bin/python3.11", False),
    ],
)
def test_an_emulator_behind_the_program_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, expected: bool
) -> None:
    monkeypatch.setattr(booted.os, "readlink", lambda _path: program)
    assert booted.is_emulated(str(tmp_path / "none")) is expected


def test_another_start_has_another_name(tmp_path: Path) -> None:
    (tmp_path / "boot_id").write_text("a\n")
    first = booted.boot_id(str(tmp_path / "boot_id"))
    assert first == booted.boot_id(str(tmp_path / "boot_id"))
    (tmp_path / "boot_id").write_text("b\n")
    assert booted.boot_id(str(tmp_path / "boot_id")) != first


def test_the_machine_tells_its_start_and_the_room_of_a_folder(tmp_path: Path) -> None:
    facts = describe(str(tmp_path))
    assert facts["boot_id"]
    assert facts["bits"] in (32, 64)
    assert facts["emulated"] is False
    assert 0 < facts["free_disk_bytes"] <= os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize * 2
    assert describe(str(tmp_path / "none"))["free_disk_bytes"] is None
