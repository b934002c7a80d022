from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.compress import TrainConfig, TrainReport, finetune
from edgekit.compress.training.accelerate import cpu_multiplies_bf16
from edgekit.compress.training.checkpoint import read_tensors, write_tensors
from edgekit.compress.training.config import one_cycle
from edgekit.errors import DataError, ModelError, StageError, UserError
from tests.compress import nets

SHORT = TrainConfig(epochs=3, batch_size=16, augment="crop-flip", device="cpu")


class WithDropout(nets.Plain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(x, 0.2, self.training))


def fresh(factory: type[nn.Module] = WithDropout, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return factory().eval()


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.state_dict())


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def trained(config: TrainConfig = SHORT, **more: Any) -> tuple[dict[str, torch.Tensor], TrainReport]:
    student = fresh()
    report = finetune(student, nets.random_samples(), config, teacher=fresh(seed=2), **more)
    return weights(student), report


def test_the_loss_falls() -> None:
    student = fresh()
    config = TrainConfig(epochs=8, batch_size=16, learning_rate=0.05, augment="none", device="cpu")
    report = finetune(student, nets.random_samples(), config)
    assert report.loss[-1] < 0.9 * report.loss[0]
    assert (report.steps, report.planned_steps, report.stopped) == (48, 48, "")


def test_the_same_seed_gives_the_same_weights() -> None:
    assert same(trained()[0], trained()[0])


def test_another_seed_gives_other_weights() -> None:
    other = TrainConfig(epochs=3, batch_size=16, augment="crop-flip", device="cpu", seed=5)
    assert not same(trained()[0], trained(other)[0])


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    student = fresh()
    torch.set_rng_state(before)
    finetune(student, nets.random_samples(), SHORT)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_teacher_is_left_as_it_was() -> None:
    teacher = fresh(seed=2)
    before = weights(teacher)
    finetune(fresh(), nets.random_samples(), SHORT, teacher=teacher)
    assert same(before, weights(teacher))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("batches", [4, 6, 13])
def test_a_broken_run_resumes_to_the_very_same_weights(tmp_path: Path, optimizer: Any, batches: int) -> None:
    config = TrainConfig(epochs=3, batch_size=16, augment="crop-flip", device="cpu", optimizer=optimizer)
    unbroken, _ = trained(config)
    file = tmp_path / "run.safetensors"
    breaking = nets.ArraySamples(nets.random_samples().x, nets.random_samples().y, fail_after=batches)
    with pytest.raises(nets.PowerCut):
        finetune(fresh(), breaking, config, teacher=fresh(seed=2), checkpoint=file, save_every_s=0.0)
    resumed, report = trained(config, checkpoint=file)
    assert report.resumed_at == batches
    assert same(unbroken, resumed)


def test_a_run_that_is_asked_to_stop_goes_on_later(tmp_path: Path) -> None:
    unbroken, _ = trained()
    file = tmp_path / "run.safetensors"
    asked = iter([False] * 7 + [True])
    _, first = trained(checkpoint=file, should_stop=lambda: next(asked))
    resumed, second = trained(checkpoint=file)
    assert (first.stopped, first.steps, second.resumed_at, second.stopped) == ("asked", 7, 7, "")
    assert same(unbroken, resumed)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    first, _ = trained(checkpoint=file)
    second, report = trained(checkpoint=file)
    assert report.resumed_at == report.steps == report.planned_steps
    assert same(first, second)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_a_damaged_checkpoint_is_ignored(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "run.safetensors"
    file.write_bytes(content)
    result, report = trained(checkpoint=file)
    assert report.resumed_at == 0
    assert same(result, trained()[0])


def test_a_checkpoint_of_another_run_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    trained(checkpoint=file)
    _, report = trained(TrainConfig(epochs=2, batch_size=16, device="cpu"), checkpoint=file)
    assert report.resumed_at == 0


def test_a_time_limit_shortens_the_schedule() -> None:
    config = TrainConfig(epochs=100_000, batch_size=16, device="cpu", augment="none")
    _, report = trained(config, time_limit_s=1.0)
    assert report.stopped == "time"
    assert 0 < report.steps < report.planned_steps


def test_a_shortened_run_is_no_part_of_a_whole_one(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    config = TrainConfig(epochs=100_000, batch_size=16, device="cpu", augment="none")
    _, first = trained(config, time_limit_s=0.5, checkpoint=file)
    asked = iter([False] * 3 + [True])
    _, limited = trained(config, time_limit_s=0.5, checkpoint=file)
    _, whole = trained(config, checkpoint=file, should_stop=lambda: next(asked))
    assert limited.resumed_at == first.steps
    assert limited.stopped == "time"
    assert (whole.resumed_at, whole.steps) == (0, 3)


def test_distillation_alone_brings_a_student_to_its_teacher() -> None:
    data = nets.ArraySamples(nets.random_samples().x, None)
    teacher, student = fresh(nets.Plain, 2), fresh(nets.Plain, 1)
    config = TrainConfig(epochs=8, batch_size=16, learning_rate=0.05, augment="none", device="cpu")
    report = finetune(student, data, config, teacher=teacher)
    assert report.loss[-1] < 0.5 * report.loss[0]


def test_outputs_that_are_no_classes_are_distilled_by_squares() -> None:
    class Map(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"map": self.conv(x), "mean": self.conv(x).mean((2, 3))[:, None]}

    config = TrainConfig(epochs=10, batch_size=16, learning_rate=0.05, augment="none", device="cpu")
    report = finetune(fresh(Map, 1), nets.random_samples(), config, teacher=fresh(Map, 2))
    assert report.loss[-1] < 0.5 * report.loss[0]


def test_neither_labels_nor_teacher_is_refused() -> None:
    with pytest.raises(DataError, match="neither labels nor a teacher"):
        finetune(fresh(), nets.ArraySamples(nets.random_samples().x, None), SHORT)


def test_a_diverging_loss_is_told_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    class Nan(nets.Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * float("nan")

    with pytest.raises(StageError, match="not finite"):
        finetune(fresh(Nan), nets.random_samples(), SHORT, checkpoint=tmp_path / "run.safetensors")
    assert not list(tmp_path.iterdir())


def test_progress_rises_to_one() -> None:
    recorder = nets.ProgressRecorder()
    trained(progress=recorder)
    assert recorder.seen == sorted(recorder.seen)
    assert recorder.seen[-1] == 1.0


def write_reference(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(body)
    return f"{folder / 'mine.py'}:mine"


def test_a_loss_of_ones_own_is_used(tmp_path: Path) -> None:
    body = (
        "def mine(outputs, labels, teacher_outputs):\n    return (outputs - teacher_outputs).abs().mean()\n"
    )
    config = TrainConfig(epochs=10, batch_size=16, device="cpu", loss=write_reference(tmp_path, body))
    _, report = trained(config)
    assert report.loss[-1] < report.loss[0]


def test_a_step_of_ones_own_is_used(tmp_path: Path) -> None:
    body = "def mine(student, inputs, labels, teacher):\n    return student(*inputs).square().mean()\n"
    config = TrainConfig(epochs=10, batch_size=16, device="cpu", step=write_reference(tmp_path, body))
    _, report = trained(config)
    assert report.loss[-1] < 0.5 * report.loss[0]


def test_a_loss_that_gives_no_scalar_is_told(tmp_path: Path) -> None:
    body = "def mine(outputs, labels, teacher_outputs):\n    return outputs\n"
    config = TrainConfig(epochs=1, batch_size=16, device="cpu", loss=write_reference(tmp_path, body))
    with pytest.raises(StageError, match=r"mine gave a tensor of shape \(16, 4\)"):
        trained(config)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nothing", "is not a Python reference"),
        ("missing.py:mine", "no such file"),
        ("no_such_package_here:mine", "no module named"),
        ("json:mine", "has no 'mine'"),
    ],
)
def test_a_wrong_reference_is_one_clear_line(reference: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        trained(TrainConfig(epochs=1, device="cpu", loss=reference))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0},
        {"alpha": 1.5},
        {"batch_size": 1},
        {"optimizer": "adam"},
        {"learning_rate": float("nan")},
        {"aside": 0.6},
        {"aside": -0.1},
        {"aside": float("nan")},
        {"average": 1.0},
        {"average": -0.1},
    ],
)
def test_a_wrong_configuration_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(fields))):
        TrainConfig(**fields)


def test_every_field_is_in_the_digest() -> None:
    changed = [TrainConfig(aside=0.1), TrainConfig(average=0.9), TrainConfig(seed=1), TrainConfig()]
    assert len({config.digest for config in changed}) == len(changed)


def test_one_cycle_rises_then_falls() -> None:
    rates = [one_cycle(i / 100, 0.1) for i in range(101)]
    assert max(rates) == pytest.approx(0.1)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("sse avx2", False), ("avx512f avx512_bf16", True), ("amx_bf16", True), ("avx512f", False)],
)
def test_bf16_is_used_only_where_the_cpu_multiplies_it(tmp_path: Path, flags: str, expected: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert cpu_multiplies_bf16(cpuinfo) is expected


def test_a_safetensors_file_from_elsewhere_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(ModelError, match="not from edgekit"):
        read_tensors(tmp_path / "other.safetensors")


def test_tensors_and_note_come_back(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "x.safetensors"
    tensor = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    write_tensors(file, {"x": tensor}, {"step": 3})
    tensors, note = read_tensors(file)
    assert torch.equal(tensors["x"], tensor)
    assert note == {"step": 3}
    assert [path.name for path in file.parent.iterdir()] == ["x.safetensors"]


def zero_second_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def flip_last_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_the_note(path: Path) -> None:
    content = path.read_bytes()
    changed = content.replace(b'\\"step\\": 3', b'\\"step\\": 9')
    assert changed != content
    path.write_bytes(changed)


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [zero_second_half, flip_last_bit, change_the_note, to_pipe])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_file_that_is_not_as_written_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], sealed: bool
) -> None:
    file = tmp_path / "x.safetensors"
    write_tensors(file, {"x": torch.ones(1000), "n": torch.tensor(3)}, {"step": 3})
    damage(file)
    with pytest.raises(ModelError):
        read_tensors(file, sealed=sealed)


def test_a_file_of_before_there_were_digests_is_read_where_the_store_vouches_for_it(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, str(tmp_path / "x.safetensors"), {"edgekit": '{"step": 3}'})
    assert read_tensors(tmp_path / "x.safetensors", sealed=False)[1] == {"step": 3}
    with pytest.raises(ModelError, match="its digest does not match"):
        read_tensors(tmp_path / "x.safetensors")


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    contents = set()
    for number in range(8):
        write_tensors(
            tmp_path / f"{number}", {"x": torch.ones(2), "y": torch.zeros(1)}, {"step": 3, "a": [1]}
        )
        contents.add((tmp_path / f"{number}").read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize("damage", [zero_second_half, flip_last_bit])
def test_a_checkpoint_that_is_not_as_written_is_ignored(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    file = tmp_path / "c.safetensors"
    first, _ = trained(checkpoint=file)
    damage(file)
    again, report = trained(checkpoint=file)
    assert report.resumed_at == 0
    assert same(first, again)
