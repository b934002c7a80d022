"""Boards that have a name, and addresses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.devices import check_device, make_device
from edgekit.devices.address import Address
from edgekit.devices.known import add_device, known_devices, read_address, remove_device
from edgekit.errors import DeviceError

TWO = """# the lab's boards
[nano]
host = "10.0.0.7"
user = "nvidia"
port = 2222
key = "/keys/nano"
jump = "me@gate:22"
target = "jetson-nano"
labels = ["lab", "slow"]
before = ["sudo nvpmodel -m 0"]  # the fast mode
meter = "read-watts --channel 'VDD IN'"

# on the window-sill
[pi]
host = "pi.local"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "devices.toml"
    path.write_text(TWO)
    return path


def test_a_table_becomes_an_address_with_its_commands_word_by_word(file: Path) -> None:
    known = known_devices(file)
    assert list(known) == ["nano", "pi"]
    assert known["nano"] == Address(
        name="nano", host="10.0.0.7", port=2222, user="nvidia", key="/keys/nano", jump="me@gate:22",
        target="jetson-nano", labels=("lab", "slow"), before=(("sudo", "nvpmodel", "-m", "0"),),
        meter=("read-watts", "--channel", "VDD IN"),
    )  # fmt: skip
    assert known["pi"] == Address(name="pi", host="pi.local")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi@10.0.0.5", Address("ssh://pi@10.0.0.5", "10.0.0.5", user="pi")),
        ("ssh://board:2222", Address("ssh://board:2222", "board", port=2222)),
        ("ssh://a@[fe80::1]:22/", Address("ssh://a@[fe80::1]:22", "fe80::1", port=22, user="a")),
    ],
)
def test_an_address_is_taken_apart(text: str, address: Address) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    "text", ["ssh://", "ssh://a b", "ssh://pi@host:0", "ssh://pi@host:99999", "ssh://h/path", "ssh://a@b@c"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match="is no address of a board; allowed: ssh://user@host"):
        read_address(text)


def test_an_unknown_name_is_refused_with_the_nearest(file: Path) -> None:
    with pytest.raises(
        DeviceError, match=r'no device "nanno"; allowed: local, .*nano, pi; did you mean nano'
    ):
        read_address("nanno", file)


@pytest.mark.parametrize("word", ["auto", "cpu", "cuda"])
def test_what_the_option_meant_in_earlier_versions_is_told(word: str) -> None:
    with pytest.raises(DeviceError, match=f"where networks are trained is --train-on {word}"):
        check_device(word)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[pi]\nhots = 'x'\n", "pi.hots: no such key; allowed: host, user, port"),
        ("[pi]\nuser = 'x'\n", "pi.host: this key is missing"),
        ("[pi]\nhost = 'x'\nport = 'ssh'\n", 'pi.port: "ssh"; allowed: a whole number'),
        ("[pi]\nhost = 'x'\nport = 70000\n", "pi.port: 70000; allowed: a whole number"),
        ("[pi]\nhost = 'x'\n[pi]\nhost = 'y'\n", "is not TOML"),
        ("[pi]\nhost = 'x'\nbefore = [\"a 'b\"]\n", "pi.before.*close the quotation"),
        ("[pi]\nhost = 'x'\nbefore = ['']\n", "pi.before"),
        ("[local]\nhost = 'x'\n", '"local" cannot be a device'),
        ("['a b']\nhost = 'x'\n", '"a b" cannot be a device'),
        ("pi = 'x'\n", "pi: .*allowed: a table with host"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(text)
    with pytest.raises(DeviceError, match=told) as problem:
        known_devices(path)
    assert str(path) in str(problem.value)


def test_what_is_added_is_read_back_and_what_stood_there_stays(file: Path) -> None:
    add_device(
        "xavier", {"host": "10.0.0.9", "labels": ["lab"], "after": ["sudo jetson_clocks --restore"]}, file
    )
    text = file.read_text()
    assert text.startswith(TWO)
    added = known_devices(file)["xavier"]
    assert added == Address(
        "xavier", "10.0.0.9", labels=("lab",), after=(("sudo", "jetson_clocks", "--restore"),)
    )
    assert remove_device("xavier", file) == file
    assert known_devices(file).keys() == {"nano", "pi"}
    assert "# on the window-sill" in file.read_text()


def test_a_name_is_given_once(file: Path) -> None:
    with pytest.raises(DeviceError, match='there is a device "pi" in'):
        add_device("pi", {"host": "elsewhere"}, file)
    assert file.read_text() == TWO


def test_a_bad_value_leaves_the_file_as_it_is(file: Path) -> None:
    with pytest.raises(DeviceError, match="--port 0; allowed"):
        add_device("other", {"host": "x", "port": 0}, file)
    with pytest.raises(DeviceError, match="close the quotation"):
        add_device("other", {"host": "x", "before": ["'"]}, file)
    assert file.read_text() == TWO


def test_only_what_has_a_name_is_removed(file: Path) -> None:
    with pytest.raises(DeviceError, match=r'no device "gone" in .*; allowed: nano, pi'):
        remove_device("gone", file)


def test_without_a_file_there_is_only_this_machine(tmp_path: Path) -> None:
    assert known_devices(tmp_path / "none.toml") == {}
    assert make_device("local", tmp_path / "work").is_here


def test_an_address_is_frozen_data() -> None:
    assert replace(Address("a", "b"), port=1).port == 1
