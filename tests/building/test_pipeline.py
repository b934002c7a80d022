"""Pipeline files: how they are read, and what they may not say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.building.pipeline import read_pipeline, with_pipeline
from edgekit.building.request import BuildRequest, TrainOptions
from edgekit.compress import Features
from edgekit.errors import UserError
from edgekit.types import Budget, Sparsity

REQUEST = BuildRequest("generic-cpu", "net.py:make", "digits", Budget(max_latency_ms=1.0))
DISTIL = {"method": "distil", "network": "net.py:make_small"}
LEARNT = {"features": {"a.1": "b"}, "relations": {"c": "d"}, "attention": {"e": "f"}, "channels": {"g": "h"}}
PRUNE = {"method": "prune", "macs": 0.5}
QAT = {"method": "qat"}
SPARSE = {"method": "sparse", "sparsity": "2:4"}


def test_a_file_and_a_list_of_dicts_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "combined.toml"
    path.write_text(
        '[[stage]]\nmethod = "distil"\nnetwork = "net.py:make_small"\nfeatures = {"a.1" = "b"}\n'
        'relations = {"c" = "d"}\nattention = {"e" = "f"}\nchannels = {"g" = "h"}\nepochs = 4\n'
        '[[stage]]\nmethod = "prune"\nmacs = 0.5\nstep-ratio = 0.2\n[[stage]]\nmethod = "qat"\n'
    )
    stages = read_pipeline(path)
    assert stages == read_pipeline([{**DISTIL, **LEARNT, "epochs": 4}, {**PRUNE, "step_ratio": 0.2}, QAT])
    assert [stage.name for stage in stages] == ["stage 1 (distil)", "stage 2 (prune)", "stage 3 (qat)"]
    request = with_pipeline(REQUEST, stages)
    assert request.student == "net.py:make_small"
    assert request.features == Features((("a.1", "b"),), (("c", "d"),), (("e", "f"),), (("g", "h"),))
    assert (request.pipeline, request.prune, request.qat) == (stages, True, "never")


def test_a_stage_s_options_are_its_own_and_the_command_s_are_the_others() -> None:
    distil, prune, qat = read_pipeline(
        [{**DISTIL, "alpha": 1.0}, {**PRUNE, "epochs": 3, "importance": "taylor"}, {**QAT, "epochs": 2}]
    )
    given = TrainOptions(learning_rate=0.01)
    assert distil.training(given) == replace(given, alpha=1.0)
    assert prune.training(given) == replace(given, epochs=3.0, importance="taylor")
    assert qat.training(given) == replace(given, qat_epochs=2.0)
    (sparse,) = read_pipeline([{**SPARSE, "saliency": "obd", "rewind": True}])
    assert sparse.training(given) == replace(given, saliency="obd", rewind=True)
    assert sparse.text == "sparse sparsity 2:4, saliency obd, rewind True"


def test_without_stages_the_request_is_as_it_was() -> None:
    assert read_pipeline(None) == ()
    assert with_pipeline(REQUEST, (), "prune") is REQUEST


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"method": "prun"}], r"stage 1: 'prun' is no method; allowed: distil, drop, .*, qat; did you mean prune\?"),
        ([{"macs": 0.5}], "stage 1 has no method; allowed: distil"),
        ([{"method": 3}], "3 is no method"),
        ([PRUNE, {"method": "prune", "mac": 0.5}], r"stage 2 \(prune\) has no option 'mac'; .*did you mean macs"),
        ([{**QAT, "learning_rate": 0.1}], r"\(qat\) has no option 'learning_rate'; allowed: epochs, temperature"),
        ([{"method": "distil"}], r"\(distil\): network: this key is missing"),
        ([{"method": "drop", "blocks": []}], r"\(drop\): blocks: \[\]; allowed: "),
        ([{"method": "prune", "macs": 1.5}], r"\(prune\): macs: 1.5; allowed: .*below 1"),
        ([{"method": "prune", "importance": "l1"}], r'importance: "l1"; allowed: .*taylor'),
        ([{**DISTIL, "epochs": "many"}], r'epochs: "many"'),
        ([{**DISTIL, "epochs": 0}], "epochs: 0"),
        ([{"method": "low-rank", "ranks": "all"}], r"\(low-rank\): ranks is 'all'; allowed: auto, a share"),
        ([{"method": "sparse"}], r"\(sparse\): sparsity: this key is missing"),
        ([{"method": "sparse", "sparsity": "1:4"}], r"\(sparse\): sparsity is '1:4'; allowed: 2:4, or the share"),
        ([{"method": "sparse", "sparsity": 1.2}], r"\(sparse\): sparsity is 1\.2; allowed: 2:4, or the share"),
        ([{**SPARSE, "saliency": "l1"}], r'saliency: "l1"; allowed: .*obd'),
        ([{**SPARSE, "ratio": 0.5}], r"\(sparse\) has no option 'ratio'"),
        ([SPARSE, PRUNE], r"stage 1 \(sparse\): the training of a later stage would fill its zeros"),
        ([SPARSE, QAT], r"stage 1 \(sparse\): the training of a later stage would fill its zeros; .*last stage alone"),
        ([PRUNE, DISTIL], r"stage 2 \(distil\): a student is a network of its own"),
        ([QAT, PRUNE], r"stage 1 \(qat\): what is trained for integers is not made smaller afterwards"),
        ([], "no stages"),
        (3, "no stages"),
        (["prune"], "stage 1 is 'prune'; allowed: a table"),
    ],
)  # fmt: skip
def test_what_no_stage_can_be_is_refused_in_one_line(given: object, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        read_pipeline(given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[stages]\n", "no key 'stages'; allowed: .*stage"),
        ("stage = 3\n", "no stages"),
        ("[[stage]\n", "is not TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_pipeline_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "combined.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said) as refused:
        read_pipeline(path)
    assert "combined.toml" in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "methods", "option"),
    [
        ({}, "auto", "--compress"),
        ({"prune": False}, None, "--no-prune"),
        ({"drop": ("a",)}, None, "--drop"),
        ({"low_rank": 0.9}, None, "--low-rank"),
        ({"sparsity": Sparsity("2:4", 0.5)}, None, "--sparsity"),
        ({"student": "net.py:small"}, None, "--student"),
        ({"student_weights": Path("w")}, None, "--student-weights"),
        ({"student_features": (("a", "b"),)}, None, "--student-features"),
        ({"student_relations": (("a", "b"),)}, None, "--student-relations"),
        ({"student_attention": (("a", "b"),)}, None, "--student-attention"),
        ({"student_channels": (("a", "b"),)}, None, "--student-channels"),
        ({"qat": "never"}, None, "--qat never"),
    ],
)
def test_options_that_name_methods_beside_a_pipeline_are_refused_by_name(
    fields: dict[str, Any], methods: object, option: str
) -> None:
    with pytest.raises(UserError, match=f"--pipeline and {option} both say which methods are used"):
        with_pipeline(replace(REQUEST, **fields), read_pipeline([PRUNE]), methods)


@pytest.mark.parametrize(
    ("train", "stage", "said"),
    [
        ({"epochs": 3.0}, {**PRUNE, "epochs": 4}, r"--epochs is given, and stage 1 \(prune\)"),
        ({"alpha": 0.5}, {**DISTIL, "alpha": 1.0}, r"--alpha is given, and stage 1 \(distil\)"),
        ({"qat_epochs": 3.0}, {**QAT, "epochs": 4}, r"--qat-epochs is given, and stage 1 \(qat\)"),
    ],
)
def test_what_is_said_of_a_training_twice_is_refused(
    train: dict[str, Any], stage: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        with_pipeline(replace(REQUEST, train=TrainOptions(**train)), read_pipeline([stage]))
    one_only = read_pipeline([{key: value for key, value in stage.items() if key not in ("epochs", "alpha")}])
    assert with_pipeline(replace(REQUEST, train=TrainOptions(**train)), one_only).pipeline == one_only
