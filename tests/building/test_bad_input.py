"""A user's mistakes: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.building.command import build_arguments, run
from tests.conftest import UserNetwork


def expect_refusal(network: UserNetwork, work: Path, *words: str, **options: str) -> str:
    """Run a build that must be refused; gives the one line."""
    done = run(build_arguments(network, work, **options))
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert lines[-1].startswith("edgekit: ")
    for word in words:
        assert word in lines[-1]
    assert not (work / "out" / "result.json").exists()
    return lines[-1]


def save(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)
    return str(path)


def images(count: int = 200) -> np.ndarray:
    return np.random.default_rng(0).random((count, 1, 8, 8), dtype=np.float32)


def labels(count: int = 200) -> np.ndarray:
    return np.arange(count) % 10


def test_an_unknown_target_gets_the_nearest_names(digits_network: UserNetwork, tmp_path: Path) -> None:
    expect_refusal(digits_network, tmp_path, "jetson-nano", target="jetson-nao")


@pytest.mark.parametrize("given", ["1:4", "1.0", "0", "many"])
def test_a_sparsity_that_there_is_not(digits_network: UserNetwork, tmp_path: Path, given: str) -> None:
    expect_refusal(
        digits_network,
        tmp_path,
        f"sparsity is '{given}'",
        "allowed: 2:4, or the share of weights",
        sparsity=given,
    )


def test_2_4_on_widths_that_are_no_multiple_of_four(digits_network: UserNetwork, tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text(
        "import torch\nfrom torch import nn\n\n\ndef make():\n    torch.manual_seed(0)\n    return nn.Sequential(\n"
        "        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)\n    )\n"
    )
    expect_refusal(
        digits_network, tmp_path,
        "sparsity 2:4: no layer can hold it: 0: 1 input channel, not divisible by 4; 4: 6 input channels, not",
        model=f"{net}:make", weights="", sparsity="2:4",
    )  # fmt: skip


def test_int8_on_a_jetson_nano_is_refused_with_what_to_do_instead(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    expect_refusal(digits_network, tmp_path, "int8", "FP16", target="jetson-nano", precision="int8")


def test_a_missing_model_file_is_named(digits_network: UserNetwork, tmp_path: Path) -> None:
    expect_refusal(digits_network, tmp_path, "nowhere.py", model="nowhere.py:make")


def test_a_corrupt_onnx_file_is_named(digits_network: UserNetwork, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x01not a network")
    expect_refusal(digits_network, tmp_path, "bad.onnx", model=str(tmp_path / "bad.onnx"), weights="")


def test_a_factory_that_raises_is_told_in_one_line(digits_network: UserNetwork, tmp_path: Path) -> None:
    model = digits_network.model.replace(":make", ":broken")
    expect_refusal(digits_network, tmp_path, "no weights for today", model=model, weights="")


def test_a_factory_that_does_not_exist_gets_those_that_do(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    expect_refusal(
        digits_network, tmp_path, "make", model=digits_network.model.replace(":make", ":mak"), weights=""
    )


def test_weights_that_do_not_match_are_told_by_key(digits_network: UserNetwork, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"stem.weight": torch.zeros(3), "stray": torch.zeros(1)}, tmp_path / "other.safetensors")
    expect_refusal(digits_network, tmp_path, "stray", weights=str(tmp_path / "other.safetensors"))


class Harmful:
    """What a stranger's pickle may do."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch harm-was-done",)


def test_a_malicious_pickle_is_refused_and_not_run(digits_network: UserNetwork, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps(Harmful()))
    expect_refusal(digits_network, tmp_path, "weights.pt", weights=str(path))
    assert not Path("harm-was-done").exists()


def test_samples_with_nan_are_refused(digits_network: UserNetwork, tmp_path: Path) -> None:
    x = images()
    x[7, 0, 0, 0] = np.nan
    expect_refusal(digits_network, tmp_path, "NaN", data=save(tmp_path / "d.npz", x=x, y=labels()))


def test_samples_of_another_shape_are_refused(digits_network: UserNetwork, tmp_path: Path) -> None:
    x = np.zeros((200, 3, 8, 8), np.float32)
    expect_refusal(digits_network, tmp_path, data=save(tmp_path / "d.npz", x=x, y=labels()))


def test_labels_beyond_the_classes_are_refused(digits_network: UserNetwork, tmp_path: Path) -> None:
    data = save(tmp_path / "d.npz", x=images(), y=labels() + 5)
    expect_refusal(digits_network, tmp_path, "label", data=data)


def test_labels_of_one_class_are_refused(digits_network: UserNetwork, tmp_path: Path) -> None:
    data = save(tmp_path / "d.npz", x=images(), y=np.zeros(200, np.int64))
    expect_refusal(digits_network, tmp_path, "class", data=data)


def test_inputs_and_labels_of_different_lengths_are_refused(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    expect_refusal(
        digits_network, tmp_path, "200", "150", data=save(tmp_path / "d.npz", x=images(), y=labels(150))
    )


def test_empty_data_is_refused(digits_network: UserNetwork, tmp_path: Path) -> None:
    expect_refusal(digits_network, tmp_path, data=save(tmp_path / "d.npz", x=images(0), y=labels(0)))


def test_too_few_samples_to_calibrate_are_refused(digits_network: UserNetwork, tmp_path: Path) -> None:
    data = save(tmp_path / "d.npz", x=images(40), y=labels(40))
    expect_refusal(digits_network, tmp_path, "16", data=data)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_latency", "fast"),
        ("max_drop", "1 apple"),
        ("max_drop", "1"),
        ("max_size", "-3MB"),
        ("time_limit", "soon"),
    ],
)
def test_a_budget_that_is_no_quantity_is_refused(
    digits_network: UserNetwork, tmp_path: Path, option: str, value: str
) -> None:
    expect_refusal(digits_network, tmp_path, value, **{option: value})


def test_an_output_folder_that_is_a_file_is_refused(digits_network: UserNetwork, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    expect_refusal(digits_network, tmp_path, "taken", out=str(tmp_path / "taken"))
    assert (tmp_path / "taken").read_text() == "mine"


def test_an_unknown_recipe_gets_the_known_ones(digits_network: UserNetwork, tmp_path: Path) -> None:
    expect_refusal(digits_network, tmp_path, "int8-minmax", recipe="int8-minimax")


def test_an_unknown_precision_gets_the_known_ones(digits_network: UserNetwork, tmp_path: Path) -> None:
    expect_refusal(digits_network, tmp_path, "int9", "int8", precision="int9")


def test_forgotten_weights_are_refused_with_what_is_likely_wrong_and_how_to_go_on(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    words = ("no better", "no --weights is given", "the order of the classes", "--allow-weak-original")
    model = digits_network.model.replace(":make", ":untrained")
    expect_refusal(digits_network, tmp_path, *words, weights="", model=model, target="generic-cpu")


def test_forgotten_weights_of_a_random_factory_are_told_at_once(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    expect_refusal(digits_network, tmp_path, "another network each time", "--weights", weights="")


def test_fewer_classes_than_outputs_are_told_before_a_refusal_that_they_may_explain(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    data = save(tmp_path / "d.npz", x=images(), y=np.arange(200) % 4)
    done = run(build_arguments(digits_network, tmp_path, data=data))
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert said.index("knows 4 classes, the network has 10 outputs") < said.index("edgekit: the original")


def test_data_of_another_scale_are_refused(digits_network: UserNetwork, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    dark = (digits.images[:, None] / 16).astype(np.float32)
    data = save(tmp_path / "d.npz", x=dark, y=digits.target)
    expect_refusal(digits_network, tmp_path, "scale, mean and std", data=data, scale="100000")


def test_a_metric_with_its_arguments_swapped_is_refused(digits_network: UserNetwork, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n\n\ndef right(labels, outputs):\n    return np.zeros(len(outputs))\n"
    )
    metric = f"{tmp_path / 'own.py'}:right"
    expect_refusal(
        digits_network, tmp_path, "is 0 for every one", "arguments (outputs, labels)", metric=metric
    )


def test_an_unknown_metric_is_refused_before_any_work(digits_network: UserNetwork, tmp_path: Path) -> None:
    expect_refusal(digits_network, tmp_path, "top2", metric="top2")
    assert not list(tmp_path.glob("store/objects/*/*"))


def test_a_network_too_large_for_the_board_s_memory_is_refused_with_both_figures(
    digits_network: UserNetwork, tmp_path: Path
) -> None:
    folder = tmp_path / "targets"
    folder.mkdir()
    shipped = Path(__file__).parents[2] / "targets" / "raspberry-pi-zero2w.toml"
    text = shipped.read_text().replace('name = "raspberry-pi-zero2w"', 'name = "tiny-board"')
    (folder / "tiny-board.toml").write_text(text.replace("[536_870_912]", "[4_096]"))
    arguments = build_arguments(digits_network, tmp_path, target="tiny-board")
    done = run(arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "too large for the board" in last
    assert "tiny-board" in last
    assert "pruned" in last
    assert not (tmp_path / "out" / "result.json").exists()


@pytest.mark.parametrize("board", ["jetson-nano", "jetson-tx2"])
def test_int8_on_a_board_without_it_names_what_is_tried_instead(
    digits_network: UserNetwork, tmp_path: Path, board: str
) -> None:
    assert "FP16" in expect_refusal(digits_network, tmp_path, board, target=board, precision="int8")
