"""Where a machine and a target's file say different things, and under which key."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.hardware import Machine, all_targets, contradictions, find_target

FAKE_PI = Machine(
    name="Raspberry Pi 4 Model B Rev 1.4",
    arch="aarch64",
    cpu="Cortex-A72",
    features=frozenset({"fp", "asimd", "evtstrm", "crc32", "cpuid"}),
    cores=4,
    memory_bytes=3_970_000_000,
    os="Fake Linux 1.0",
    governor="ondemand",
)


def keys(machine: Machine, target: str = "raspberry-pi-4") -> list[str]:
    return [found.key for found in contradictions(find_target(target), machine)]


def test_the_board_itself_contradicts_nothing() -> None:
    assert keys(FAKE_PI) == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"arch": "x86_64"}, "architecture"),
        ({"name": "Raspberry Pi 3 Model B"}, "identity.models"),
        ({"memory_bytes": 3 * 2**30 // 2}, ""),  # of 2 GiB, what a large GPU share leaves
        ({"memory_bytes": 5 * 2**30}, "memory.sizes_bytes"),
        ({"memory_bytes": 16 * 2**30}, "memory.sizes_bytes"),
    ],
)
def test_each_contradiction_has_its_key(changes: dict[str, object], key: str) -> None:
    assert keys(replace(FAKE_PI, **changes)) == ([key] if key else [])  # type: ignore[arg-type]


def test_a_memory_that_is_not_told_contradicts_nothing() -> None:
    assert keys(replace(FAKE_PI, memory_bytes=0)) == []


TARGETS = all_targets()
NAMES = st.sampled_from(["Raspberry Pi 4 Model B", "NVIDIA Jetson Orin Nano", "a x86_64 machine"])
FEATURES = st.sets(st.sampled_from(["asimd", "asimddp", "fphp", "avx2", "fma", "avx512_vnni", "avx_vnni"]))


@given(st.sampled_from(["x86_64", "aarch64"]), NAMES, FEATURES)
def test_a_target_that_a_machine_is_not_is_contradicted_in_its_identity(
    arch: str, name: str, features: set[str]
) -> None:
    machine = replace(FAKE_PI, arch=arch, name=name, features=frozenset(features), memory_bytes=0)
    for target in TARGETS:
        found = contradictions(target, machine)
        assert tuple(each.told for each in found) == target.misfits(machine)
        assert all(each.key == "architecture" or each.key.startswith("identity.") for each in found)
