"""Which runtimes a build may use: this machine makes for them, and the board runs them."""

from __future__ import annotations

import pytest

from edgekit.building import board
from edgekit.building.board import find_runtimes
from edgekit.building.request import BuildRequest
from edgekit.errors import UserError
from edgekit.hardware import find_target

TARGET = find_target("generic-arm64")  # litert, onnxruntime
PIP = 'ai-edge-litert is not installed: pip install "edgekit[tflite]"'


def made_here(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    makes = {
        name: None if name in names else PIP for name in ("onnxruntime", "openvino", "litert", "tensorrt")
    }
    monkeypatch.setattr(board, "usable_backends", lambda: makes)


def board_with(*names: str, versions: dict[str, str] | None = None) -> dict[str, object]:
    return {"machine": "Made-up Board", "runtimes": names, "versions": versions or {}}


def request(**options: object) -> BuildRequest:
    return BuildRequest(target=TARGET.name, model="net.onnx", data="digits", **options)  # type: ignore[arg-type]


def test_what_is_made_here_and_run_there_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    made_here(monkeypatch, "onnxruntime")
    chosen = find_runtimes(request(), TARGET, board_with("onnxruntime", "litert"))
    assert chosen.usable == ("onnxruntime",)
    assert chosen.unusable == {"litert": PIP}
    assert "onnxruntime" in chosen.versions


def test_what_the_board_lacks_is_told_with_the_line_for_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    made_here(monkeypatch, "onnxruntime", "litert")
    chosen = find_runtimes(request(), TARGET, board_with("onnxruntime"))
    assert chosen.usable == ("onnxruntime",)
    assert chosen.unusable == {
        "litert": "LiteRT is not installed on Made-up Board: pip install ai-edge-litert"
    }


def test_a_board_that_is_not_here_is_taken_to_have_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made_here(monkeypatch, "onnxruntime", "litert")
    chosen = find_runtimes(request(), TARGET, None)
    assert (chosen.usable, chosen.unusable) == (("litert", "onnxruntime"), {})


def test_what_was_not_asked_for_is_in_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    made_here(monkeypatch, "onnxruntime")
    asked = request(backends=("onnxruntime",))
    chosen = find_runtimes(asked, TARGET, board_with("onnxruntime"))
    assert (chosen.usable, chosen.unusable) == (("onnxruntime",), {})


def test_without_any_the_build_is_refused_with_both_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    made_here(monkeypatch, "onnxruntime")
    with pytest.raises(UserError) as caught:
        find_runtimes(request(), TARGET, board_with("litert"))
    line = "ONNX Runtime is not installed on Made-up Board: pip install onnxruntime"
    assert str(caught.value) == f"no runtime of generic-arm64 is usable here: {PIP}; {line}"


def test_a_runtime_of_another_version_than_the_targets_makes_no_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_here(monkeypatch, "onnxruntime", "litert")
    old = board_with("onnxruntime", "litert", versions={"onnxruntime": "1.15.1", "ai-edge-litert": "2.3.0"})
    found = find_runtimes(request(), TARGET, old)
    assert found.usable == ("litert",)
    assert found.unusable["onnxruntime"] == (
        "Made-up Board has ONNX Runtime 1.15.1; generic-arm64 is described with >=1.22"
    )
