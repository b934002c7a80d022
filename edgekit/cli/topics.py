"""`edgekit help TOPIC`: what a function of yours is given and has to give back, and how to set up completion."""

from __future__ import annotations

import difflib

import click

from edgekit.errors import UserError

__all__ = ["help_"]

EPILOG = """\b
Examples:
  edgekit help metric
  edgekit help completion
"""

MODEL = """\
--model net.py:make is called without arguments and gives the network.

It is called twice: both have to be the same network, so seed what is random. --weights are loaded into it, if given.

    # net.py
    import torch


    def make():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""

DATA = """\
--data data.py:load is called without arguments and gives the samples.

An iterable of batches (x, y), or x alone without labels; a Dataset with __len__ and __getitem__; or a dict of these
by part: train, val, test. x is [N, ...], an array or a tensor (a tuple of them for several inputs), y int64 [N].
A dict of one input and one label, {"pixel_values": x, "labels": y}, stands for (x, y).

    # data.py
    import numpy as np


    def load():
        chance = np.random.default_rng(0)
        for _ in range(10):
            y = np.arange(32) % 2
            x = chance.random((32, 1, 8, 8)) + y[:, None, None, None]
            yield x.astype(np.float32), y
"""

METRIC = """\
--metric metric.py:score is called with (outputs, labels) and gives one score per sample.

outputs: name → array [N, ...], as the network gives them; labels: int64 [N]. Scores: float [N], finite, higher is
better; their mean is the accuracy, and a drop is paired sample by sample.

    # metric.py
    import numpy as np


    def score(outputs, labels):
        (scores,) = outputs.values()
        order = np.argsort(-scores, axis=1)
        return (order[:, :2] == labels[:, None]).any(axis=1).astype(float)
"""

LOSS = """\
--loss loss.py:loss is called with (outputs, labels, teacher_outputs) and gives one scalar tensor with a gradient.

outputs and teacher_outputs: what the pruned network and the original return for the batch; labels: int64 tensor [N],
or None without labels. It replaces cross-entropy and distillation. One of (outputs, labels), as a torch criterion is,
replaces cross-entropy alone: the original goes on teaching, by --alpha.

    # loss.py
    import torch.nn.functional as F


    def loss(outputs, labels, teacher_outputs):
        soft = F.mse_loss(outputs, teacher_outputs)
        return soft if labels is None else soft + F.cross_entropy(outputs, labels)
"""

STEP = """\
--train-step step.py:step is called with (student, inputs, labels, teacher) and gives one scalar tensor with a gradient.

student and teacher: the pruned network and the original, torch modules; inputs: a tuple of tensors [N, ...], augmented;
labels: int64 tensor [N], or None. edgekit differentiates it and takes the step. It wins over --loss.

    # step.py
    import torch
    import torch.nn.functional as F


    def step(student, inputs, labels, teacher):
        with torch.no_grad():
            guide = teacher(*inputs)
        return F.mse_loss(student(*inputs), guide)
"""

COMPLETION = """\
Completion of commands and options in the shell. Put the line of your shell into its start file:

    eval "$(_EDGEKIT_COMPLETE=bash_source edgekit)"        # ~/.bashrc
    eval "$(_EDGEKIT_COMPLETE=zsh_source edgekit)"         # ~/.zshrc
    _EDGEKIT_COMPLETE=fish_source edgekit | source         # ~/.config/fish/completions/edgekit.fish
"""

TOPICS = {
    "model": MODEL,
    "data": DATA,
    "metric": METRIC,
    "loss": LOSS,
    "step": STEP,
    "completion": COMPLETION,
}


@click.command("help", epilog=EPILOG)
@click.argument("topic", required=False)
def help_(topic: str | None) -> None:
    """What your own functions are given and give back: model, data, metric, loss, step; and completion."""
    if topic is None:
        for name, text in TOPICS.items():
            click.echo(f"{name:<12} {text.splitlines()[0]}")
        return
    if topic not in TOPICS:
        near = difflib.get_close_matches(topic, TOPICS, n=1, cutoff=0.5)
        raise UserError(
            f"no topic {topic[:80]!r}",
            allowed=", ".join(TOPICS),
            remedy=f"did you mean {near[0]}?" if near else "",
        )
    click.echo(TOPICS[topic], nl=False)
