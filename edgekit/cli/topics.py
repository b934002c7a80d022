"""`edgekit help TOPIC`: what a function of yours gets and has to give back, how data is stored and preprocessed."""

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

Files need no function. An .npz holds x and y, or x_train, y_train, x_val, y_val, x_test and y_test:

    import numpy as np

    x = np.zeros((100, 1, 8, 8), np.float32)  # [N, ...]: a sample is what the network takes, without its batch
    y = np.array(["cat", "dog"])[np.arange(100) % 2]  # names, or class numbers
    np.savez("data.npz", x=x, y=y, classes=np.array(["cat", "dog"]))  # in the order of the network's outputs

A folder of images has a folder for each class, perhaps below train, val and test; or images alone, without labels:

    photos/cat/1.jpg      photos/train/cat/1.jpg      photos/1.jpg
    photos/dog/2.jpg      photos/val/dog/2.jpg        photos/2.jpg

Class folders count in alphabetical order, or by their lines in --classes FILE. Arrays that do not have the network's
size, layout or range of values yet: edgekit help preprocessing.
"""

PREPROCESSING = """\
How stored samples become what the network takes, in this order. The bundle does the same on the board.

    --input-layout nhwc    arrays are stored as [H, W, C]; image files need no word of it
    --channels bgr         what the network takes (rgb, bgr, grey) of samples stored as RGB or grey
    --resize 256           the shorter side; --resize 640x480 is width x height, --letterbox keeps proportions there
    --crop 224             centred; or 320x240
    --scale 255            divide by it
    --mean A,B,C           subtract after that: one for each channel, or one
    --std A,B,C            divide after that

They have to be what the network was trained with:

    pixels as 0 to 1                 --scale 255
    pixels as -1 to 1                --scale 255 --mean .5 --std .5
    torchvision, timm                --scale 255 --mean .485,.456,.406 --std .229,.224,.225 --resize 256 --crop 224
    YOLO                             --scale 255 --resize 640x640 --letterbox
    spectrograms, sensors            --mean M --std S, which training had subtracted and divided by

The same keys stand in a file for --preprocess, and in Python in a dict, preprocess={"scale": 255}:

    # preprocess.toml
    input_layout = "nhwc"
    scale = 255
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]
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

Named ones: top1, top5, balanced_accuracy, macro_f1 and roc_auc of class numbers (roc_auc also of labels of 0 and 1, a
score for each); miou of maps; r2, rmse, mae and cosine of targets. --metric map:net.py:decode is COCO's mean average
precision, map50: that at an overlap of 0.5: decode(outputs) gives for each sample an array [boxes, 6] of class, score,
x0, y0, x1, y1, after non-maximum suppression; labels are [N, boxes, 5] of class, x0, y0, x1, y1, padded with rows of
class -1. Needs pycocotools: pip install 'edgekit[detection]'.
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
    "preprocessing": PREPROCESSING,
    "metric": METRIC,
    "loss": LOSS,
    "step": STEP,
    "completion": COMPLETION,
}


@click.command("help", epilog=EPILOG)
@click.argument("topic", required=False)
def help_(topic: str | None) -> None:
    """What your own functions are given and give back: model, data, metric, loss, step; preprocessing; completion."""
    if topic is None:
        for name, text in TOPICS.items():
            click.echo(f"{name:<14} {text.splitlines()[0]}")
        return
    if topic not in TOPICS:
        near = difflib.get_close_matches(topic, TOPICS, n=1, cutoff=0.5)
        raise UserError(
            f"no topic {topic[:80]!r}",
            allowed=", ".join(TOPICS),
            remedy=f"did you mean {near[0]}?" if near else "",
        )
    click.echo(TOPICS[topic], nl=False)
