"""Files that make torch run code while another reader sees a plain program: none of them does it through edgekit."""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgekit.errors import ModelError
from edgekit.model import load_module, locate
from edgekit.testing.networks import TinyConvNet

Members = list[tuple[str, bytes]]

CONFIG = "net/data/weights/model_weights_config.json"
CONSTANTS = "net/data/constants/model_constants_config.json"
WEIGHT = "net/data/weights/weight_0"
GRAPH = "net/models/model.json"
SAMPLES = "net/data/sample_inputs/model.pt"
VERSION = "8.14"  # of the layout before torch 2.8: the schema's major version counts


class Payload:
    """Unpickling it makes the marker folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def pickled(marker: Path) -> bytes:
    content = io.BytesIO()
    torch.save({"weight": Payload(marker)}, content)
    return content.getvalue()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """The members of a program that is safe."""
    path = tmp_path_factory.mktemp("plain") / "net.pt2"
    torch.manual_seed(0)
    torch.export.save(torch.export.export(TinyConvNet().eval(), (torch.zeros(1, 1, 8, 8),)), path)
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def zipped(members: Members) -> bytes:
    """As an archive, two members of one name included."""
    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w") as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, value in members:
            archive.writestr(zipfile.ZipInfo(name), value)
    return content.getvalue()


def with_changed(members: Members, name: str, value: bytes) -> Members:
    return [(other, value if other == name else content) for other, content in members]


def pickling_config(members: Members) -> bytes:
    """The weights' list, with the first weight marked as pickled."""
    config = json.loads(dict(members)[CONFIG])
    entry = next(entry for entry in config["config"].values() if entry["path_name"] == "weight_0")
    entry["use_pickle"] = True
    return json.dumps(config).encode()


def unpickled(members: Members, marker: Path) -> Members:
    """The program with its first weight as a pickle, which torch loads without restriction."""
    return with_changed(with_changed(members, CONFIG, pickling_config(members)), WEIGHT, pickled(marker))


def guarded(members: Members, marker: Path) -> bytes:
    """The program with guards that make the marker when they are compiled or checked."""
    program = json.loads(dict(members)[GRAPH])
    program["guards_code"] = [f"__import__('os').mkdir({str(marker)!r}) or True"]
    return json.dumps(program).encode()


def twice(name: str, bad: Callable[[Members, Path], bytes]) -> Callable[[Members, Path], bytes]:
    """The bad member of a name before the good one."""

    def made(members: Members, marker: Path) -> bytes:
        evil = with_changed(members, WEIGHT, pickled(marker)) if name == CONFIG else members
        return zipped([(name, bad(members, marker)), *evil])

    return made


def in_another_case(name: str, bad: Callable[[Members, Path], bytes]) -> Callable[[Members, Path], bytes]:
    """The bad member under the name in capitals, which torch takes for the same, before the good one."""

    def made(members: Members, marker: Path) -> bytes:
        folder, _, inside = name.partition("/")
        evil = with_changed(members, WEIGHT, pickled(marker)) if name == CONFIG else members
        return zipped([(f"{folder}/{inside.upper()}", bad(members, marker)), *evil])

    return made


def old_layout(folder: str, mark: str, *, state: bool, beside: bool) -> Callable[[Members, Path], bytes]:
    """The layout before torch 2.8, with a member whose name ends with `archive_format`."""

    def made(members: Members, marker: Path) -> bytes:
        empty = io.BytesIO()
        torch.save({}, empty)
        bad, good = pickled(marker), empty.getvalue()
        old = [
            ("version", VERSION.encode()),
            ("serialized_exported_program.json", dict(members)[GRAPH]),
            ("serialized_state_dict.pt", bad if state else good),
            ("serialized_constants.pt", good if state else bad),
            ("serialized_example_inputs.pt", good),
        ]
        placed = [(f"{folder}{name}", content) for name, content in old]
        return zipped([*placed, (mark, b"pt2"), *(members if beside else [])])

    return made


def padded(first: Members, second: Members) -> tuple[Members, Members]:
    """Both with contents of equal lengths: then their directories lie at the same offset."""

    def filled(content: bytes, name: str, size: int) -> bytes:
        return content + (b" " if name.endswith(".json") else b"\0") * (size - len(content))

    sizes = {name: -(-max(len(content), len(dict(second)[name])) // 4) * 4 for name, content in first}
    keep = {name for name, content in first if content == dict(second)[name]}
    return tuple(  # type: ignore[return-value]
        [(name, content if name in keep else filled(content, name, sizes[name])) for name, content in members]
        for members in (first, second)
    )


def good_behind_bad(members: Members, marker: Path) -> bytes:
    """Two archives in a row, laid out alike: offsets count from the second's start, or from the file's."""
    evil, good = padded(unpickled(members, marker), members)
    return zipped(evil) + zipped(good)


def bad_behind_good(members: Members, marker: Path) -> bytes:
    evil, good = padded(unpickled(members, marker), members)
    return zipped(good) + zipped(evil)


def two_ends(members: Members, marker: Path) -> bytes:
    """The end record of the bad archive as the comment of the good one."""
    evil, good = zipped(unpickled(members, marker)), zipped(members)
    end = evil[-22:]
    return evil + good[:-2] + struct.pack("<H", len(end)) + end


def guards_in(name: str) -> Callable[[Members, Path], bytes]:
    """A second program, in a member that torch takes for one by its folder alone."""

    def made(members: Members, marker: Path) -> bytes:
        known, model = dict(members), name.removeprefix("net/models/")[:-5]
        parts = [
            (f"net/data/weights/{model}_weights_config.json", known[CONFIG]),
            (f"net/data/constants/{model}_constants_config.json", known[CONSTANTS]),
            (f"net/data/sample_inputs/{model}.pt", known[SAMPLES]),
        ]
        fresh = [(name, guarded(members, marker)), *(part for part in parts if part[0] not in known)]
        return zipped([*members, *fresh])

    return made


def written_into(kind: str) -> Callable[[Members, Path], bytes]:
    """A name that is code where torch writes it into the source of `forward`."""

    def made(members: Members, marker: Path) -> bytes:
        program = json.loads(dict(members)[GRAPH])
        module = program["graph_module"]
        code = f"__import__('os').mkdir({str(marker)!r})"
        if kind == "argument":
            module["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"x={code}"]
        elif kind == "parameter":
            text = json.dumps(program).replace('"stem.weight"', json.dumps(f'stem.", {code}, "weight'))
            return zipped(with_changed(members, GRAPH, text.encode()))
        else:
            name = module["graph"]["inputs"][-1]["as_tensor"]["name"]
            text = json.dumps(program).replace(json.dumps(name), json.dumps(f"{name}={code}"))
            return zipped(with_changed(members, GRAPH, text.encode()))
        return zipped(with_changed(members, GRAPH, json.dumps(program).encode()))

    return made


def defaults_of_another_module(members: Members, marker: Path) -> bytes:
    """An input that is a defaultdict, whose factory torch imports by name."""
    program = json.loads(dict(members)[GRAPH])
    context = {"default_factory_module": "os", "default_factory_name": "system", "dict_context": []}
    form = {"type": "collections.defaultdict", "context": json.dumps(context), "children_spec": []}
    program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, form])
    return zipped(with_changed(members, GRAPH, json.dumps(program).encode()))


def evil_config(members: Members, marker: Path) -> bytes:
    return pickling_config(members)


def evil_samples(members: Members, marker: Path) -> bytes:
    return pickled(marker)


ATTACKS: dict[str, Callable[[Members, Path], bytes]] = {
    "twice: weights": twice(CONFIG, evil_config),
    "twice: guards": twice(GRAPH, guarded),
    "twice: sample inputs": twice(SAMPLES, evil_samples),
    "case: weights": in_another_case(CONFIG, evil_config),
    "case: guards": in_another_case(GRAPH, guarded),
    "case: sample inputs": in_another_case(SAMPLES, evil_samples),
    "old: state": old_layout("", "x/archive_format", state=True, beside=False),
    "old: constants": old_layout("", "my.archive_format", state=False, beside=False),
    "old: beside a new one": old_layout("", "archive_format", state=True, beside=True),
    "polyglot: bad in front": good_behind_bad,
    "polyglot: bad behind": bad_behind_good,
    "polyglot: two ends": two_ends,
    "names: input": written_into("input"),
    "names: argument": written_into("argument"),
    "names: parameter": written_into("parameter"),
    "types: another module": defaults_of_another_module,
    "guards: another suffix": guards_in("net/models/other.text"),
    "guards: no suffix": guards_in("net/models/another"),
    "guards: a folder deeper": guards_in("net/models/deep/model.yaml"),
}
SAFE_AS_READ = (
    "polyglot: bad in front"  # the archive that was checked is a plain one, and torch gets that one
)


@pytest.mark.parametrize("kind", ATTACKS)
def test_no_payload_runs(plain: Members, tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pt2"
    path.write_bytes(ATTACKS[kind](plain, marker))
    if kind == SAFE_AS_READ:
        torch.manual_seed(0)
        x = torch.rand(1, 1, 8, 8)
        torch.manual_seed(0)
        assert torch.allclose(load_module(locate(path))(x), TinyConvNet().eval()(x), atol=1e-5)
    else:
        with pytest.raises(ModelError) as caught:
            load_module(locate(path))
        assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "operator", ["aten.save.default", "aten.from_file.default", "debugprims.load_tensor.default"]
)
def test_operators_that_read_or_write_files_are_refused(
    plain: Members, tmp_path: Path, operator: str
) -> None:
    program = dict(plain)[GRAPH].replace(b"torch.ops.aten.relu.default", f"torch.ops.{operator}".encode())
    path = tmp_path / "evil.pt2"
    path.write_bytes(zipped(with_changed(plain, GRAPH, program)))
    with pytest.raises(ModelError, match=f"calls 'torch.ops.{operator}'"):
        load_module(locate(path))


@pytest.mark.parametrize("name", ["net/extra/note.txt", "net/.data/serialization_id"])
def test_members_that_no_network_needs_are_left_out(plain: Members, tmp_path: Path, name: str) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(zipped([(other, content) for other, content in plain if other != name] + [(name, b"1")]))
    assert load_module(locate(path))


@pytest.mark.parametrize("value", [5, "x", None, {"config": 5}, {"config": {"w": 5}}, [[[]]]])
@pytest.mark.parametrize("name", [CONFIG, CONSTANTS, GRAPH])
def test_members_of_another_form_are_told_in_one_line(
    plain: Members, tmp_path: Path, name: str, value: object
) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(zipped(with_changed(plain, name, json.dumps(value).encode())))
    with pytest.raises(ModelError) as caught:
        load_module(locate(path))
    assert "\n" not in str(caught.value)


def test_a_compressed_archive_is_refused(plain: Members, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in plain:
            archive.writestr(name, content)
    with pytest.raises(ModelError, match=r"is compressed|larger than the file"):
        load_module(locate(path))


def test_a_program_nested_beyond_reason_is_told(plain: Members, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(zipped(with_changed(plain, GRAPH, b"[" * 100_000 + b"]" * 100_000)))
    with pytest.raises(ModelError, match="not a readable"):
        load_module(locate(path))


class Unusual(torch.nn.Module):
    """Names with a hyphen, a tied and an unsaved tensor, an LSTM, text arguments, a dict of lists as the output."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("block-1", torch.nn.Linear(4, 4))
        self.twin = torch.nn.Linear(4, 4)
        self.twin.weight = self.get_submodule("block-1").weight
        self.lstm = torch.nn.LSTM(4, 4, batch_first=True)
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)

    def forward(self, x: torch.Tensor, other: dict[str, torch.Tensor]) -> dict[str, object]:
        y = self.twin(self.get_submodule("block-1")(x)) * self.scale + torch.tensor([0.5])
        y, _ = self.lstm(y)
        z = torch.einsum("bij,bjk->bik", y, other["in-2"])
        return {
            "out/1": [z, z.amax(-1)],
            "up": torch.nn.functional.interpolate(z, scale_factor=2.0, mode="linear"),
        }


@pytest.mark.parametrize("dynamic", [False, True])
def test_unusual_but_plain_programs_load_and_compute_the_same(tmp_path: Path, dynamic: bool) -> None:
    torch.manual_seed(0)
    network = Unusual().eval()
    inputs = (torch.rand(2, 3, 4), {"in-2": torch.rand(2, 4, 5)})
    batch = {0: torch.export.Dim("batch", min=1, max=8)} if dynamic else None
    shapes = (batch, {"in-2": batch})
    path = tmp_path / "net.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the LSTM's own tensors
        torch.export.save(torch.export.export(network, inputs, dynamic_shapes=shapes), path)
    expected, got = network(*inputs), load_module(locate(path))(*inputs)
    assert list(got) == list(expected)
    torch.testing.assert_close(got, expected)
