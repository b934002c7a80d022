"""result.json: what is written reads back, and the documents say what is in it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import OutputError, UserError
from edgekit.result import SCHEMA_VERSION, json_schema, load_result, save_result
from edgekit.summary import plain
from edgekit.testing.results import example_result
from edgekit.types import Verdict
from tests.report.planned import example_planning, planned

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("verdict", ["MEETS", "MISSES", "INFEASIBLE"])
def test_a_result_reads_back_as_it_was_written(verdict: Verdict, tmp_path: Path) -> None:
    result = example_result(verdict)
    save_result(result, tmp_path / "result.json")
    assert load_result(tmp_path / "result.json") == result


def test_the_keys_are_those_that_were_promised(tmp_path: Path) -> None:
    save_result(example_result(), tmp_path / "result.json")
    content = json.loads((tmp_path / "result.json").read_text())
    promised = "schema verdict target budget winner candidates rejected failures environment"
    assert set(promised.split()) <= set(content)
    candidate = content["candidates"][0]
    promised = "id backend precision variant latency_ms accuracy size_bytes peak_memory_bytes origin artifact"
    assert set(promised.split()) <= set(candidate)
    assert {"p50", "p90", "p99", "low", "high"} <= set(candidate["latency_ms"])
    assert {"value", "low", "high", "drop"} <= set(candidate["accuracy"])


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    save_result(example_result(), tmp_path / "result.json")
    save_result(example_result("MISSES"), tmp_path / "result.json")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert load_result(tmp_path / "result.json").verdict == "MISSES"


def test_a_result_with_a_number_that_json_lacks_is_not_written(tmp_path: Path) -> None:
    result = example_result()
    broken = replace(result, run=replace(result.run, duration_s=math.nan))
    with pytest.raises(ValueError, match="would not read back"):
        save_result(broken, tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        save_result(example_result(), tmp_path / "no" / "result.json")


def test_a_missing_result_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file or directory; give the folder of a finished build"):
        load_result(tmp_path / "result.json")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', '{"schema": "one"}', "\xff"])
def test_a_damaged_result_is_told(content: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"is not an edgekit result: .*; allowed: schema 1") as caught:
        load_result(path)
    assert "\n" not in str(caught.value)


def test_a_result_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    save_result(replace(example_result(), schema=SCHEMA_VERSION + 1), path)
    with pytest.raises(UserError, match="has schema 2; allowed: schema 1"):
        load_result(path)


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    save_result(example_result(), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))
    assert load_result(path) == example_result()


def test_every_field_is_written_as_dataclasses_write_it() -> None:
    result = planned(example_planning())
    assert json.loads(json.dumps(plain(result))) == json.loads(json.dumps(asdict(result)))


def test_the_schema_document_is_in_step_with_the_code() -> None:
    # To bring it up to date: write json.dumps(json_schema(), indent=1, ensure_ascii=False) to the file.
    assert json.loads((DOCS / "result.schema.json").read_text(encoding="utf-8")) == json_schema()


def properties(schema: dict[str, Any]) -> Iterator[str]:
    for definition in schema["$defs"].values():
        yield from definition["properties"]


def test_the_description_names_every_key() -> None:
    text = (DOCS / "result.md").read_text(encoding="utf-8")
    assert [name for name in properties(json_schema()) if f"`{name}`" not in text] == []


def test_a_result_without_the_machines_sensors_reads_too(tmp_path: Path) -> None:
    save_result(example_result(), tmp_path / "result.json")
    content = json.loads((tmp_path / "result.json").read_text())
    for name in ("sensors_before", "sensors_after"):
        del content["environment"][name]
    for candidate in content["candidates"]:
        del candidate["import_ms"], candidate["latency_ms"]["turns"], candidate["latency_ms"]["preemptions"]
    (tmp_path / "result.json").write_text(json.dumps(content))
    result = load_result(tmp_path / "result.json")
    assert result.environment.sensors_before is None
    assert result.candidates[0].latency_ms is not None
    assert (result.candidates[0].latency_ms.turns, result.candidates[0].latency_ms.preemptions) == ((), None)


@pytest.mark.parametrize("content", ["mine", "{}", '{"schema": 1}', "[1]", "[" * 100_000])
def test_a_result_json_that_is_not_ours_is_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(OutputError, match="is there and is not of edgekit; move it away"):
        save_result(example_result(), path)
    assert path.read_text() == content


def test_a_result_is_not_written_in_the_place_of_a_link_or_a_pipe(tmp_path: Path) -> None:
    save_result(example_result(), tmp_path / "elsewhere.json")
    (tmp_path / "result.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(OutputError, match="is not of edgekit"):
        save_result(example_result(), tmp_path / "result.json")
    (tmp_path / "result.json").unlink()
    os.mkfifo(tmp_path / "result.json")
    with pytest.raises(OutputError, match="is not of edgekit"):
        save_result(example_result(), tmp_path / "result.json")


def test_a_result_that_was_read_is_written_whole(tmp_path: Path) -> None:
    save_result(example_result(), tmp_path / "first.json")
    save_result(load_result(tmp_path / "first.json"), tmp_path / "second.json")
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("first.json", "second.json"))
    assert {**first, "run": None} == {**second, "run": None}
    assert first["run"].keys() == second["run"].keys()


def test_ten_lines_hold_the_first_warning() -> None:
    result = example_result("MEETS")
    assert "\nwarning " not in repr(replace(result, warnings=()))
    assert "\nwarning   one" in repr(replace(result, warnings=("one",)))
    told = repr(replace(result, warnings=("one " * 100, "two", "three")))
    assert told.splitlines()[-1].endswith("… (and 2 more)")
    assert len(told.splitlines()) <= 10
