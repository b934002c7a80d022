"""Which machine is which board."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.hardware import Machine, all_targets, find_target

HERE = Path(__file__).parent
X86 = ("fma", "avx", "avx2")
A76 = ("fp", "asimd", "asimddp", "fphp", "asimdhp")


def machine(
    name: str = "host", arch: str = "x86_64", cpu: str = "", features: tuple[str, ...] = ()
) -> Machine:
    facts = {
        "machine": name,
        "arch": arch,
        "cpu": cpu,
        "features": features,
        "cores": 4,
        "memory_bytes": 2**32,
    }
    return Machine.from_facts(facts)


def fitting(this: Machine) -> list[str]:
    return [target.name for target in all_targets(HERE) if not target.misfits(this)]


def test_a_machine_is_made_of_what_the_runner_describes() -> None:
    facts = {
        "machine": "Raspberry Pi 5 Model B Rev 1.0",
        "arch": "aarch64",
        "cpu": "Cortex-A76",
        "features": ["asimd", "asimddp"],
        "cores": 4,
        "memory_bytes": 8 * 2**30,
        "os": "Debian",
        "governor": "ondemand",
        "python": "3.11",
        "versions": {},
    }
    this = Machine.from_facts(facts)
    assert this.features == {"asimd", "asimddp"}
    assert (this.cores, this.governor, this.accelerators) == (4, "ondemand", frozenset())


def test_facts_that_are_missing_are_empty() -> None:
    assert Machine.from_facts({}).features == frozenset()
    assert "unknown" in find_target("generic-cpu", HERE).misfits(Machine.from_facts({}))[0]


@pytest.mark.parametrize(
    ("this", "targets"),
    [
        (machine(features=X86), ["generic-cpu", "intel-cpu-avx2"]),
        (machine(features=(*X86, "avx512f")), ["generic-cpu", "intel-cpu-avx2"]),
        (machine(features=(*X86, "avx512_vnni")), ["generic-cpu", "intel-cpu"]),
        (machine(cpu="AMD EPYC 9654", features=(*X86, "avx512_vnni")), ["generic-cpu", "intel-cpu"]),
        (machine(cpu="Intel(R) N100", features=(*X86, "avx_vnni")), ["generic-cpu", "intel-cpu", "intel-n100"]),
        (machine(features=("sse4_2",)), ["generic-cpu"]),
        (machine("NVIDIA Jetson Nano Developer Kit", "aarch64"), ["generic-arm64", "jetson-nano"]),
        (machine("NVIDIA Jetson Orin Nano Developer Kit", "aarch64"), ["generic-arm64", "jetson-orin-nano"]),
        (machine("NVIDIA Jetson AGX Thor Developer Kit", "aarch64"), ["generic-arm64", "jetson-thor"]),
        (machine("Raspberry Pi 4 Model B Rev 1.4", "aarch64"), ["generic-arm64", "raspberry-pi-4"]),
        (machine("Raspberry Pi 5 Model B Rev 1.0", "aarch64", "", A76), ["generic-arm64", "raspberry-pi-5"]),
        (machine("Raspberry Pi Zero 2 W Rev 1.0", "aarch64"), ["generic-arm64", "raspberry-pi-zero2w"]),
        (machine("Raspberry Pi 3 Model B Plus Rev 1.3", "aarch64"), ["generic-arm64", "raspberry-pi-3"]),
        (machine(arch="riscv64"), []),
    ],
)  # fmt: skip
def test_a_machine_is_recognised_as_its_boards(this: Machine, targets: list[str]) -> None:
    assert fitting(this) == targets


def test_another_architecture_is_the_only_reason_told() -> None:
    assert find_target("jetson-nano", HERE).misfits(machine()) == (
        "jetson-nano is aarch64, this machine is x86_64",
    )


def test_a_missing_feature_is_named() -> None:
    assert find_target("intel-cpu", HERE).misfits(machine(features=X86)) == (
        "this CPU has no avx512_vnni or avx_vnni",
    )


def test_a_forbidden_feature_is_named() -> None:
    (reason,) = find_target("intel-cpu-avx2", HERE).misfits(machine(features=(*X86, "avx_vnni")))
    assert reason == "this CPU has avx_vnni, which intel-cpu-avx2 is without"


def test_an_accelerator_that_was_not_seen_is_named() -> None:
    (reason,) = find_target("intel-npu", HERE).misfits(machine(features=X86))
    assert "intel-npu" in reason
    assert not find_target("intel-npu", HERE).misfits(
        Machine.from_facts({"arch": "x86_64", "accelerators": ["intel-npu"]})
    )


@pytest.mark.parametrize(
    ("target", "cpu", "like"),
    [
        ("intel-cpu", "AMD EPYC 9R14", True),
        ("intel-cpu", "Some other vendor's", True),
        ("intel-cpu", "Intel(R) Xeon(R) Platinum 8488C", False),
        ("generic-cpu", "AMD EPYC 9R14", False),
    ],
)
def test_a_machine_that_fits_by_its_features_alone_is_not_called_the_board(
    target: str, cpu: str, like: bool
) -> None:
    told = find_target(target, HERE).likeness(machine(cpu=cpu, features=(*X86, "avx512_vnni")))
    wanted = (
        f"this machine ({cpu}) fits the description of {target} by its features; by its name it is not one"
    )
    assert told == (wanted if like else "")


def test_a_machine_that_does_not_fit_has_no_likeness() -> None:
    assert find_target("intel-cpu", HERE).likeness(machine(cpu="AMD EPYC", arch="aarch64")) == ""
