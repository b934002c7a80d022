"""Train the demo's network once, then run the very command a user would type."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import click

from edgekit.cli import main as run_edgekit

__all__ = ["train"]

SEED = 0
EPOCHS = 12


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo-out"), show_default=True)
def demo(out: Path) -> None:
    """Train on scikit-learn's digits and build for this machine."""
    out.mkdir(parents=True, exist_ok=True)
    model, weights = out / "net.py", out / "net.safetensors"
    if not weights.exists():
        shutil.copyfile(Path(__file__).with_name("net.py"), model)
        train(weights)
    arguments = ["build", "--target", "generic-cpu", "--model", f"{model}:make", "--weights", str(weights)]
    arguments += ["--data", "digits", "--max-latency", "auto", "--max-drop", "1%"]
    arguments += ["--precision", "fp32,int8"]  # the others would be tried too: a demo is short
    arguments += ["--timed", "1s"]
    arguments += ["--out", str(out / "build"), "--store", str(out / "store")]
    click.echo(f"\n$ edgekit {shlex.join(arguments)}\n", err=True)
    run_edgekit(arguments)


def train(path: Path) -> None:
    """Plain supervised training on the same training split that the build will use."""
    import torch
    from safetensors.torch import save_file
    from torch.nn import functional

    from edgekit.data import make_splits, open_source
    from edgekit.demo.net import make
    from edgekit.types import Preprocess

    torch.manual_seed(SEED)
    splits = make_splits(open_source("digits", Preprocess(), path.parent), seed=SEED)
    assert splits.train is not None
    network = make().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 6e-3, epochs=EPOCHS, steps_per_epoch=-(-len(splits.train) // 64)
    )
    with click.progressbar(range(EPOCHS), label="Training the demo's network on digits") as epochs:
        for epoch in epochs:
            for batch in splits.train.batches(64, shuffle_seed=epoch):
                images, labels = torch.from_numpy(batch.inputs[0]), torch.from_numpy(batch.labels)
                loss = functional.cross_entropy(network(images), labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    save_file(network.state_dict(), path)


if __name__ == "__main__":
    demo()
