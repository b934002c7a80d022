"""What tuning offers, what it keeps, and how a bundle's program takes it up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.board.infer import Model
from edgekit.board.machine import describe
from edgekit.board.manifest import ManifestError, read_manifest
from edgekit.board.runtimes import RUNTIMES
from edgekit.board.sessions.opening import open_session
from edgekit.board.settled import write_settled
from edgekit.board.tuned import read_tuned, remove_tuned, settings_here, write_tuned
from edgekit.board.tuning import (
    OFFERS,
    Trial,
    best_setting,
    is_better,
    offered_keys,
    option_settings,
    thread_settings,
    told,
)
from edgekit.bundle import verify_bundle
from tests.board.test_settle import candidates_bundle
from tests.bundles import SAMPLES, SIGNATURE, artifact_of, bundle_of, network

SPINNING = {"session.intra_op.allow_spinning": "1"}

positive = st.floats(0.001, 1000.0)


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    if draw(st.booleans()) and draw(st.booleans()):
        return Trial(None, 0, "failed at load: no kernel")
    low, at, high = sorted(draw(st.tuples(positive, positive, positive)))
    against = draw(st.sampled_from(["", "", "golden outputs do not match"]))
    return Trial({"at": at, "low": low, "high": high}, draw(st.integers(1, 100)), against)


# ---- what is kept ------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=3), trials(), max_size=6), trials(), st.none() | st.integers(1, 100))
def test_what_is_kept_is_surely_faster_right_and_within_the_memory(
    tried: Mapping[str, Trial], default: Trial, most_bytes: int | None
) -> None:
    best = best_setting(tried, default, most_bytes)
    if best is None:
        assert not any(is_better(trial, default, most_bytes) for trial in tried.values())
        return
    kept = tried[best]
    assert kept.latency_ms is not None
    assert default.latency_ms is not None
    assert kept.latency_ms["high"] < default.latency_ms["low"]
    assert not kept.against
    assert most_bytes is None or kept.peak_memory_bytes <= max(most_bytes, default.peak_memory_bytes)
    for trial in tried.values():
        if is_better(trial, default, most_bytes):
            assert trial.latency_ms is not None
            assert kept.latency_ms["at"] <= trial.latency_ms["at"]


@given(trials())
def test_nothing_is_better_than_itself(trial: Trial) -> None:
    assert not is_better(trial, trial)
    assert best_setting({"a": trial}, trial) is None


@given(trials(), trials())
def test_of_two_at_most_one_is_better(a: Trial, b: Trial) -> None:
    assert not (is_better(a, b) and is_better(b, a))


@given(st.lists(st.tuples(st.text(min_size=1, max_size=3), trials()), max_size=5), trials(), st.randoms())
def test_the_order_of_trying_does_not_matter(
    tried: list[tuple[str, Trial]], default: Trial, chance: Any
) -> None:
    first = dict(tried)
    items = list(first.items())
    chance.shuffle(items)
    assert best_setting(dict(items), default) == best_setting(first, default)


# ---- what is offered ---------------------------------------------------------------------------------------


def test_each_runtime_offers_something() -> None:
    assert set(OFFERS) == set(RUNTIMES)


@given(st.integers(1, 64), st.integers(1, 64))
def test_threads_stay_within_what_is_allowed_and_leave_out_the_default(threads: int, most: int) -> None:
    counts = [setting.threads for setting in thread_settings("onnxruntime", {}, threads, most)]
    assert counts == sorted(set(counts))
    assert all(1 <= count <= most and count != threads for count in counts)
    assert most in counts or most == threads


@pytest.mark.parametrize("runtime", sorted(OFFERS))
@pytest.mark.parametrize("threads", [1, 4])
def test_offers_change_only_what_may_be_tuned_and_keep_the_artifacts_own(runtime: str, threads: int) -> None:
    own = {"inputs": "[]"}
    for setting in option_settings(runtime, own, threads):
        changed = {key for key in setting.options if setting.options[key] != own.get(key)}
        assert changed
        assert changed <= set(offered_keys(runtime))
        assert setting.options["inputs"] == "[]"
        assert told(setting, own, threads) != "nothing"


def test_what_needs_threads_is_not_offered_to_one() -> None:
    assert not any("spinning" in setting.name for setting in option_settings("onnxruntime", {}, 1))
    assert any("spinning" in setting.name for setting in option_settings("onnxruntime", {}, 2))


def test_the_settings_of_the_cpu_are_not_offered_to_a_gpu_of_openvino() -> None:
    assert not option_settings("openvino", {"DEVICE": "GPU"}, 4)
    assert not thread_settings("openvino", {"DEVICE": "GPU"}, 1, 4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "litert"])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_offer_opens_and_answers_rightly(runtime: Any, threads: int, tmp_path: Path) -> None:
    """By the real runtime: an option with a typing mistake would fail here."""
    artifact = artifact_of(runtime, tmp_path / "artifact")
    path = tmp_path / "artifact" / artifact.entry
    settings = option_settings(runtime, artifact.options, threads)
    assert settings
    for setting in settings:
        with open_session(runtime, str(path), setting.options, setting.threads) as session:
            (answer,) = session.run({SIGNATURE.inputs[0].name: SAMPLES[:1]}).values()
        assert np.allclose(answer, network(SAMPLES[:1]), atol=1e-4), setting.name


# ---- tuned.json --------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return bundle_of(artifact_of("onnxruntime", tmp_path / "artifact"), tmp_path / "bundle")


def tune(bundle: Path, options: Mapping[str, str] = SPINNING, threads: int = 2, **facts: Any) -> Path:
    write_tuned(str(bundle), read_manifest(str(bundle)), {**describe(), **facts}, options, threads)
    return bundle / "tuned.json"


def test_a_model_runs_as_it_was_tuned_and_the_bundle_verifies(bundle: Path) -> None:
    tune(bundle)
    with Model(bundle) as model:
        assert (model.tuned, model.threads) == (True, 2)
        assert model.golden_deviation() <= model.tolerance
    assert verify_bundle(bundle).ok


def test_without_it_a_model_runs_as_it_was_built(bundle: Path) -> None:
    with Model(bundle) as model:
        assert (model.tuned, model.threads) == (False, read_manifest(str(bundle))["threads"])


@pytest.mark.parametrize(
    "fact", [{"machine": "Another"}, {"cpu": "Another"}, {"cores": 99}, {"arch": "m68k"}]
)
def test_what_was_found_on_another_machine_is_left_alone(bundle: Path, fact: Mapping[str, Any]) -> None:
    tune(bundle, **fact)
    setting = settings_here(str(bundle), read_manifest(str(bundle)))
    assert setting == {"options": {}, "threads": 1, "tuned": False}


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "[" * 100_000, '{"schema": 1}'])
def test_what_is_no_tuned_json_is_one_line(bundle: Path, content: str) -> None:
    (bundle / "tuned.json").write_text(content)
    with pytest.raises(ManifestError, match="delete it, or settle again") as refused:
        Model(bundle)
    assert "\n" not in str(refused.value)
    with pytest.raises(ManifestError):
        remove_tuned(str(bundle), read_manifest(str(bundle)))
    assert (bundle / "tuned.json").read_text() == content


def test_a_changed_number_of_threads_is_refused(bundle: Path) -> None:
    path = tune(bundle)
    path.write_text(path.read_text().replace('"threads": 2', '"threads": 64'))
    with pytest.raises(ManifestError, match="digest does not match"):
        Model(bundle)


def test_an_option_that_is_not_tuned_is_refused(bundle: Path) -> None:
    tune(bundle, {"optimized_model_filepath": "/tmp/anywhere"})
    with pytest.raises(ManifestError, match="optimized_model_filepath, which is not tuned"):
        Model(bundle)


def test_the_tuned_json_of_another_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = bundle_of(
        artifact_of("onnxruntime", tmp_path / "other"), tmp_path / "second", classes=("a", "b", "c")
    )
    (bundle / "tuned.json").write_bytes(tune(other).read_bytes())
    with pytest.raises(ManifestError, match="of another bundle"):
        Model(bundle)


def test_a_link_in_its_place_is_refused(bundle: Path, tmp_path: Path) -> None:
    tune(bundle).rename(tmp_path / "elsewhere")
    (bundle / "tuned.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ManifestError, match="no plain file"):
        read_tuned(str(bundle), read_manifest(str(bundle)))


# ---- a settled bundle as a model ---------------------------------------------------------------------------


def settled(bundle: Path, verdict: str, winner: str | None) -> None:
    write_settled(
        str(bundle), {"schema": 1, "verdict": verdict, "winner": winner, "not_the_board": [], "bundle": ""}
    )
    path = bundle / "settled.json"
    content = json.loads(path.read_text())
    facts = read_manifest(str(bundle))
    from edgekit.board.manifest import manifest_digest

    content.pop("digest")
    content["bundle"] = manifest_digest(facts)
    write_settled(str(bundle), content)


def test_a_settled_bundle_opens_its_winner(tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made")
    settled(bundle, "MEETS", "openvino")
    with Model(bundle) as model:
        assert model.golden_deviation() <= model.tolerance
        assert type(model._session).__name__ == "OpenVinoSession"


@pytest.mark.parametrize(("verdict", "winner"), [("MISSES", None), ("PROVISIONAL", "openvino")])
def test_without_a_winner_a_candidate_is_asked_for(tmp_path: Path, verdict: str, winner: str | None) -> None:
    bundle = candidates_bundle(tmp_path / "made")
    settled(bundle, verdict, winner)
    with pytest.raises(ManifestError, match=f"none has won \\({verdict}\\); give one of them"):
        Model(bundle)


def test_a_winner_that_is_no_candidate_is_refused(tmp_path: Path) -> None:
    bundle = candidates_bundle(tmp_path / "made")
    settled(bundle, "MEETS", "../../elsewhere")
    with pytest.raises(ManifestError, match="no candidate"):
        Model(bundle)
