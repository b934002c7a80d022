"""What travels with a task, and how far what comes back is believed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.building.cluster.carried import folders_of, pack, replaced, stores_of, unpack
from edgekit.building.cluster.sameness import difference, sameness
from edgekit.errors import StageError
from edgekit.store import Store


def test_files_and_folders_that_a_task_names_travel_and_stores_and_what_stays_do_not(tmp_path: Path) -> None:
    Store.open(tmp_path / "store").close()
    (tmp_path / "artifact" / "deep").mkdir(parents=True)
    for name in ("artifact/net.onnx", "artifact/deep/net.bin", "samples.npy", "data.npz"):
        (tmp_path / name).write_text(name)
    task = {
        "store": str(tmp_path / "store"),
        "artifact": {"folder": str(tmp_path / "artifact")},
        "samples": [str(tmp_path / "samples.npy")],
        "data": str(tmp_path / "data.npz"),
        "words": ["samples.npy", "/nowhere/at/all", ""],
    }
    folders = folders_of(task, in_place=[str(tmp_path / "data.npz")])
    told = {folder.path: ([file.path for file in folder.files], folder.named) for folder in folders}
    assert told == {
        str(tmp_path / "artifact"): (["deep/net.bin", "net.onnx"], (".",)),
        str(tmp_path): (["samples.npy"], ("samples.npy",)),
    }
    assert stores_of(task) == (str(tmp_path / "store"),)
    assert folders[1].places("/there") in (
        {str(tmp_path / "samples.npy"): "/there/samples.npy"},
        {str(tmp_path / "artifact"): "/there"},
    )


def test_paths_are_replaced_whole_and_once() -> None:
    places = {"/a": "/w/0", "/a/b": "/w/1", "/w": "/other"}
    text = "/a/b/net.onnx and /a, /a.onnx, /a/bc, x/a: '/a/c' is not /w"
    assert replaced({"x": [text]}, places) == {
        "x": ["/w/1/net.onnx and /w/0, /a.onnx, /w/0/bc, x/a: '/w/0/c' is not /other"]
    }


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary(max_size=99), max_size=4
    )
)
def test_what_is_packed_is_unpacked(files: dict[str, bytes]) -> None:
    import tempfile

    if any(name.partition("/")[0] in files for name in files if "/" in name):
        return
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for name, content in files.items():
            (Path(one) / name).parent.mkdir(exist_ok=True)
            (Path(one) / name).write_bytes(content)
        assert unpack(pack(b'{"answer":1}', "said", Path(one)), Path(other), "export") == (
            b'{"answer":1}',
            "said",
        )
        found = {
            path.relative_to(other).as_posix(): path.read_bytes()
            for path in Path(other).rglob("*")
            if path.is_file()
        }
    assert found == files


def test_content_that_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "net.onnx").write_bytes(b"weights")
    packed = pack(b"null", "", tmp_path / "made")
    for wrong in (packed[:-1] + b"?", packed[:-1], packed + b"more", b"\xff" * 20, b""):
        with pytest.raises(StageError):
            unpack(wrong, tmp_path, "export")
    assert not (tmp_path / "net.onnx").exists() or (tmp_path / "net.onnx").read_bytes() == b"weights"


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "", "a\\..\\out"])
def test_a_file_that_would_lie_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    head = {"reply": None, "log": "", "files": [{"path": name, "sha256": digest, "size_bytes": 0}]}
    content = msgspec.json.encode(head)
    (tmp_path / "in").mkdir()
    with pytest.raises(StageError, match="sent a file named"):
        unpack(len(content).to_bytes(8, "big") + content, tmp_path / "in", "export")
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


def test_another_python_edgekit_or_package_is_told_and_one_more_is_not() -> None:
    here = sameness()
    assert here["Python"].count(".") == 1
    assert here["numpy"]
    assert difference(here, {**here, "more": "1"}) == ""
    assert difference(here, sameness(tuple(here))) == ""
    for name in ("Python", "edgekit", "numpy"):
        assert difference(here, {**here, name: "0"}) == f"it has {name} 0, this machine {name} {here[name]}"
    assert difference(here, {"Python": here["Python"]}).startswith("it has no edgekit")
