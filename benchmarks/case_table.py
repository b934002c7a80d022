"""How each small case is made and called: the table of `cases.py`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ROWS", "Row"]


@dataclass(frozen=True)
class Row:
    """One network with its data. `folder`: of the case; everything else is relative to where it is made.

    `made`: "case" by make_case.py, "own" by the folder's make.py, "copy" by `script` alone. `of_data`: what is asked
    is about the samples, their labels or the network's chance, which lint does not see. `script`: Python that runs
    there once, after making.
    """

    folder: str
    name: str
    model: str = "net.py:make"
    weights: str = "net.pt"
    data: str = "val.npz"
    options: tuple[str, ...] = ()
    made: str = "case"
    of_data: bool = False
    script: str = ""

    @property
    def label(self) -> str:
        return f"{self.folder}/{self.name}" if self.name else self.folder


def case(folder: str, *options: str, data: str = "val.npz", name: str = "", of_data: bool = False) -> Row:
    return Row(folder, name, data=data, options=options, of_data=of_data)


SEVERAL_OUTPUTS = ("probs_and_id.onnx",)
"""Files whose labels may be meant for either output: a build asks which."""


def onnx_row(file: str, *options: str, data: str = "val.npz") -> Row:
    name = f"{file} {' '.join(options)}".strip()
    return Row("onnx-variants", name, file, "", data, options, "own", of_data=file in SEVERAL_OUTPUTS)


NOISE = (
    "import numpy as np; np.savez('{0}.npz', x=np.random.default_rng(0).standard_normal(({1})).astype('f4'))"
)
LAYOUTS = {"conv_transpose": "64, 16, 8, 8"}
LAYOUT_NAMES = ("detector_head", "yolo_head", "pixel_shuffle", "group_norm", "instance_norm", "conv_transpose",
                "channel_softmax")  # fmt: skip
VARIANTS = (
    *(f"opset{opset}" for opset in (7, 9, 10, 11, 12, 17, 20, 21, 22, 23)),
    *("dynamo18", "dynamo_dynbatch", "external", "sub dir/münchen 模型", "slashes", "unicode", "dots", "ir3"),
    *("batch8", "dynhw", "fp16", "noshape", "probs_and_id", "already_qdq", "already_dynamic", "already_qop"),
    *("truncated", "unnamed", "customop", "unknown_rank"),
)
TWO = (
    "open('two.py', 'w').write('import numpy as np\\nd = np.load(\"val.npz\")\\ng = np.random.default_rng(1)\\n"
    'm = g.standard_normal((len(d["x"]), 5)).astype(np.float32)\\n'
    'def make():\\n    return [((d["x"][i:i+50], m[i:i+50]), d["y"][i:i+50]) for i in range(0, 600, 50)]\\n\')'
)
WEIGHTS = (
    *("plain.pt", "dataparallel.pt", "wrapped_state_dict.pt", "wrapped_model.pt", "imagenet_example.pth.tar"),
    *(
        "lightning.ckpt",
        "lightning.pt",
        "compiled.pt",
        "model_state.pt",
        "kuangliu_net.pt",
        "basicsr_params.pt",
    ),
    *(
        "weights_key.pt",
        "timm_ema.pt",
        "half.pt",
        "double.pt",
        "bf16.pt",
        "whole_model.pt",
        "prefix_backbone.pt",
    ),
    *("thop.pt", "nested.pt", "numpy.pt", "numpy_scalar.pt", "script.pt", "pytorch_model.bin"),
)
ARRAYS = (
    *(
        "plain",
        "onehot",
        "float_labels",
        "column",
        "u8_labels",
        "string_labels",
        "one_based",
        "regression",
        "boxes",
    ),
    *("mask", "multilabel", "nhwc_u8", "i8", "f16", "f64", "i32", "i64", "tiny8", "tiny20", "capital"),
    *("images_labels", "named_valid", "mnist_like", "fortran", "bigendian", "sorted", "object", "imbalanced"),
    *("one_missing", "ignore255", "minus1", "batch1", "nan", "two_inputs"),
)
NPZ_NETWORK = (
    "import net, numpy as np, torch; d = np.load('plain.npz'); torch.manual_seed(0); m = net.make();"
    "o = torch.optim.Adam(m.parameters(), 5e-3); x, y = torch.from_numpy(d['x']), torch.from_numpy(d['y']);\n"
    "for _ in range(60):\n    o.zero_grad(); torch.nn.functional.cross_entropy(m(x), y).backward(); o.step()\n"
    "torch.save(m.state_dict(), 'net.pt')"
)
PICTURES = ("plain", "emptyclass", "grey8", "grey16", "cmyk", "palette", "rgba", "exif", "corrupt", "mixed")
PICTURE_OPTIONS = ("--input-layout", "nhwc", "--scale", "255")
PICTURE_NETWORK = (
    "import pathlib; pathlib.Path('folder_net.py').write_text('import torch.nn as nn\\n"
    "class N(nn.Module):\\n    def __init__(s):\\n        super().__init__()\\n        s.f = nn.Sequential("
    "nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.BatchNorm2d(16), "
    "nn.ReLU(), nn.Flatten(), nn.Linear(1024, 4))\\n    def forward(s, x):\\n        return s.f(x)\\n"
    "def make():\\n    return N()\\n')"
)

ROWS: tuple[Row, ...] = (
    case("c2f-chunk"),
    case("fixed-view"),
    case("prune-memory-format"),
    case("weight-norm-tcn"),
    case("weight-norm-new"),
    Row("sigmoid-head-openvino", "", made="own"),
    case("concat-box-score"),
    case("segmentation-softmax", "--metric", "metric.py:miou_direct"),
    case("segmentation-softmax", data="unlabelled.npz", name="unlabelled"),
    Row(
        "keypoint-regression",
        "",
        options=("--metric", "metric.py:nme"),
        script="import numpy as np, net, torch, pathlib\nif not pathlib.Path('val.npz').exists():\n"
        "    x = np.random.default_rng(0).standard_normal((400, 3, 16, 16)).astype('f4'); m = net.make().eval()\n"
        "    y = m(torch.from_numpy(x)).detach().numpy(); np.savez('val.npz', x=x, y=y)\n"
        "    torch.save(m.state_dict(), 'net.pt')",
        made="copy",
    ),
    case("trim-padding", of_data=True),
    case("ecg-conv1d"),
    case("tokens-plain"),
    case("tied-linear"),
    case("unet-convtranspose"),
    case("dict-detector"),
    case("dropout-always-on", of_data=True),
    *(
        Row(
            "litert-layout-gate",
            name,
            f"net.py:{name}",
            f"{name}.pt",
            f"{name}.npz",
            made="copy",
            script=NOISE.format(name, LAYOUTS.get(name, "64, 3, 16, 16"))
            + f"\nimport net, torch; torch.manual_seed(0); torch.save(net.{name}().state_dict(), '{name}.pt')",
        )
        for name in LAYOUT_NAMES
    ),
    Row("dynamic-batch-onnx", "net.onnx", "net.onnx", "", made="own"),
    Row("dynamic-batch-onnx", "static.onnx", "static.onnx", "", made="own"),
    *(onnx_row(f"{name}.onnx") for name in VARIANTS),
    onnx_row("dynhw.onnx", "--input-shape", "input=1x3x16x16"),
    onnx_row("uint8_input.onnx", data="val_u8.npz"),
    Row("onnx-variants", "two_in.onnx", "two_in.onnx", "", "two.py:make", made="own", script=TWO),
    *(Row("checkpoints", name, weights=name, made="own", of_data=True) for name in WEIGHTS),
    *(
        Row("npz-labels", name, data=f"{name}.npz", made="own", of_data=True, script=NPZ_NETWORK)
        for name in ARRAYS
    ),
    *(
        Row(
            "image-folders",
            name,
            "folder_net.py:make",
            "rgb.pt",
            name,
            PICTURE_OPTIONS,
            "own",
            of_data=True,
            script=PICTURE_NETWORK,
        )
        for name in PICTURES
    ),
)
"""Every case, in the order of the cases' README."""
