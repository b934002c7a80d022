"""Finding an engine, and the words it is given."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from edgekit.docker import Engine, find_engine
from edgekit.docker.emulation import check_runs
from edgekit.docker.engines import build_command, export_command, push_command, run_commands
from edgekit.docker.running import follow
from edgekit.errors import StageError, UserError

DOCKER, PODMAN, BUILDAH = (
    Engine("docker", "/bin/docker"), Engine("podman", "/bin/podman"), Engine("buildah", "/bin/buildah")
)  # fmt: skip
ODD = "a b;$(rm -rf x)'\""


def build(engine: Engine) -> list[str]:
    return build_command(
        engine,
        Path("/tmp/a context"),
        platform="linux/arm64",
        tag="r/x:1",
        arguments={"BASE": ODD},
        labels={"edgekit.target": "t"},
        options=("--network=host",),
    )


def test_docker_builds_by_plain_words() -> None:
    assert build(DOCKER) == [
        "/bin/docker", "build", "--platform", "linux/arm64", "--file", "/tmp/a context/Dockerfile", "--tag", "r/x:1",
        "--build-arg", f"BASE={ODD}", "--label", "edgekit.target=t", "--network=host", "/tmp/a context",
    ]  # fmt: skip


@pytest.mark.parametrize("engine", [PODMAN, BUILDAH])
def test_others_are_told_the_form_that_keeps_a_health_check(engine: Engine) -> None:
    words = build(engine)
    assert words[words.index("--format") + 1] == "docker"


def test_exports_and_pushes() -> None:
    archive = Path("/tmp/x.tar")
    assert export_command(DOCKER, "r/x:1", archive) == [
        "/bin/docker",
        "save",
        "--output",
        "/tmp/x.tar",
        "r/x:1",
    ]
    assert export_command(PODMAN, "r/x:1", archive)[1:4] == ["save", "--format", "docker-archive"]
    assert export_command(BUILDAH, "r/x:1", archive)[-1] == "docker-archive:/tmp/x.tar:r/x:1"
    assert push_command(PODMAN, "r/x:1") == ["/bin/podman", "push", "r/x:1"]


def test_a_run_is_named_so_that_it_can_be_removed() -> None:
    steps, tidying = run_commands(
        DOCKER, "r/x:1", ["python3", ODD], name="n", platform="linux/arm64", volumes={Path("/w"): "/work"}
    )
    assert steps == [[
        "/bin/docker", "run", "--rm", "--no-healthcheck", "--name", "n", "--platform", "linux/arm64", "--pull", "never",
        "--volume", "/w:/work", "r/x:1", "python3", ODD,
    ]]  # fmt: skip
    assert tidying == [["/bin/docker", "rm", "--force", "n"]]


def test_buildah_makes_uses_and_removes_a_container() -> None:
    steps, tidying = run_commands(BUILDAH, "x", ["true"], name="n", platform="linux/amd64", volumes={})
    assert [step[1] for step in steps] == ["from", "run"]
    assert steps[1][2:] == ["n", "--", "true"]
    assert tidying == [["/bin/buildah", "rm", "n"]]


def program(folder: Path, name: str, code: int, text: str = "") -> None:
    file = folder / name
    file.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write({text!r})\nsys.exit({code})\n")
    file.chmod(0o755)


def test_no_engine_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UserError, match=r"docker is not installed; podman is not .*; install podman"
    ) as caught:
        find_engine()
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="buildah is not installed"):
        find_engine("buildah")


def test_an_engine_whose_daemon_is_silent_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path, "docker", 1, "Cannot connect to the daemon\n")
    with pytest.raises(UserError, match="docker does not answer: Cannot connect to the daemon"):
        find_engine("docker")
    program(tmp_path, "buildah", 0)
    assert find_engine() == Engine("buildah", str(tmp_path / "buildah"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere engines bring their own emulators")
def test_a_platform_that_does_not_run_here_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.docker.emulation.host_platform", lambda: "linux/amd64")
    check_runs("linux/amd64", tmp_path)
    with pytest.raises(UserError, match=r"runs no programs of linux/arm64; install an emulator"):
        check_runs("linux/arm64", tmp_path)
    (tmp_path / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: OC\n")
    with pytest.raises(UserError):  # the kernel knows one, but a container will not find it
        check_runs("linux/arm64", tmp_path)
    (tmp_path / "qemu-aarch64").write_text("disabled\ninterpreter /usr/bin/qemu-aarch64\nflags: PF\n")
    with pytest.raises(UserError):
        check_runs("linux/arm64", tmp_path)
    (tmp_path / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: PF\n")
    check_runs("linux/arm64", tmp_path)


def test_a_failing_command_says_its_last_lines() -> None:
    code = "import sys; print('one'); print('no such base', file=sys.stderr); sys.exit(125)"
    lines: list[str] = []
    with pytest.raises(StageError, match="exit code 125: one / no such base"):
        follow([sys.executable, "-u", "-c", code], "build image", lines.append)
    assert lines == ["one", "no such base"]


def test_a_program_that_does_not_end_is_ended_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.docker.running.GRACE_S", 0.5)
    stubborn = f"trap '' TERM; sleep 60 & echo $! > {tmp_path / 'child'}; while :; do sleep 0.1; done"
    with pytest.raises(StageError, match=r"had not ended after 0\.5 s"):
        follow(["sh", "-c", stubborn], "run image", timeout_s=0.5)
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 30
    while is_running(child) and time.monotonic() < until:
        time.sleep(0.05)  # a signal that was sent is obeyed a moment later
    assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        return "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
