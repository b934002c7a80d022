"""Options of `edgekit build` as they come to the build."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgekit.building.request import BuildRequest
from edgekit.cli import main


class Asked(Exception):
    """What a build was asked; raised in its place."""


@dataclass
class FakeBuild:
    """Takes the request and does nothing."""

    requests: list[BuildRequest] = field(default_factory=list)

    def __call__(self, request: BuildRequest, reporter: Any = None) -> Any:
        self.requests.append(request)
        raise Asked


def asked(monkeypatch: pytest.MonkeyPatch, *options: str) -> BuildRequest:
    build = FakeBuild()
    monkeypatch.setattr("edgekit.api.build_request", build)
    with pytest.raises(Asked):
        main(["build", "--target", "generic-cpu", "--model", "net.py:make", "--data", "digits", *options])
    return build.requests[0]


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["build", "--target", "generic-cpu", "--model", "net.py:make", "--data", "digits", *options])
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1, line
    return line


@pytest.mark.parametrize(("given", "read"), [("95%", 0.95), ("0.9", 0.9)])
def test_a_confidence_comes_to_the_budget(monkeypatch: pytest.MonkeyPatch, given: str, read: float) -> None:
    request = asked(monkeypatch, "--confidence", given)
    assert request.budget.confidence == pytest.approx(read)
    assert "--confidence" in request.command
    assert asked(monkeypatch).budget.confidence is None


@pytest.mark.parametrize("given", ["120%", "0", "sure", "nan"])
def test_a_confidence_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str], given: str) -> None:
    assert "confidence" in refused(capsys, "--confidence", given)


def test_what_is_meant_of_the_weights_comes_to_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked(monkeypatch, "--weights", "w.pt", "--weights-prefix", "student.", "--weights-key", "ema")
    assert (request.weights, request.weights_prefix, request.weights_key) == (Path("w.pt"), "student.", "ema")
    assert asked(monkeypatch).weights_prefix == ""
