"""A bundle in service: stored samples in, the network's outputs out, by the very code that was measured.

    from board import Model                  # the bundle's folder on sys.path; or: from edgekit.board import Model

    with Model("bundle") as model:
        scores = model.predict("cat.jpg")["scores"]  # or an array, as the build was fed

Importing this starts nothing and loads neither numpy nor a runtime.
"""

import os
import sys
import zipfile
from typing import Any, Dict, List, Mapping, Sequence, Tuple, TypeVar, Union

from .files import Path
from .settled import one_artifact, read_artifact
from .tuned import settings_here

M = TypeVar("M", bound="Model")
Samples = Union[Any, Sequence[Any], Mapping[str, Any]]

AS_IT_IS = {
    "input_layout": "as-is",
    "scale": 1.0,
    "mean": (),
    "std": (),
    "resize": None,
    "crop": None,
    "channels": None,
    "letterbox": None,
}
"""Preprocessing is declared for the first input; the others are taken as they are stored."""


class Model(object):
    """A bundle's artifact, loaded once with the runtime options and threads that it was measured with.

    Of a bundle of several candidates that was settled, the winner; where settling tuned it on a machine as this one,
    with what was found there (`tuned`).

    `labels` are the classes' names, empty where there are none. `inputs` and `outputs` are the network's, a list of
    {name, dtype, shape} each. Which CPUs it runs on is the process's own matter (measured was on the first `threads`
    ones); calls must not overlap: give each thread a model of its own.

    Raises ValueError for a folder that is no bundle of one artifact or that was changed since it was written,
    ImportError with the line that installs the runtime, and what the runtime raises.
    """

    def __init__(self, bundle: Path) -> None:
        from .sessions.opening import open_session

        folder = one_artifact(os.fspath(bundle))
        manifest = read_artifact(folder)
        setting = settings_here(folder, manifest)
        self.labels = list(manifest["labels"])
        self.inputs: List[Dict[str, Any]] = manifest["signature"]["inputs"]
        self.outputs: List[Dict[str, Any]] = manifest["signature"]["outputs"]
        self._vocabularies: Dict[str, int] = manifest.get("vocabularies", {})
        self.tolerance = float(manifest["golden"]["tolerance"])
        self._runtime = str(manifest["candidate"]["backend"])
        self._preprocess: Dict[str, Any] = manifest["preprocess"]
        self.threads, self.tuned = int(setting["threads"]), bool(setting["tuned"])
        self._golden_path = os.path.join(folder, "golden.npz")
        path = os.path.join(folder, *manifest["entry"].split("/"))
        self._session = open_session(manifest["candidate"]["backend"], path, setting["options"], self.threads)

    def __enter__(self: M) -> M:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        """What it takes and gives, at a glance."""
        told = [
            ", ".join("%s %s %s" % (spec["name"], spec["dtype"], spec["shape"]) for spec in specs)
            for specs in (self.inputs, self.outputs)
        ]
        return "<Model in %s: %s -> %s>" % (self._runtime, told[0], told[1])

    def close(self) -> None:
        """Let go of the runtime; the model answers no more."""
        self._session.close()

    def predict(self, samples: Samples) -> Dict[str, Any]:
        """Output name -> array, for one stored sample or for a batch of them, preprocessed as the build did.

        A sample has the shape in which it is stored (see preprocess.json), a batch one axis more in front: then every
        output has it too, and samples run one after the other, as was measured. The name of a .npy file or of an image
        stands for what it holds. Several inputs come as a mapping from their names, or as a sequence in the order of
        `inputs`. Always a dict, also for one output: what reads it need not change with the network. Raises
        SampleError, a ValueError, for a shape that does not fit, a value that an input of whole numbers does not hold,
        and a token id that the network does not have.
        """
        import numpy as np

        from .session import sample_row

        arrays, batched = self.prepare(samples)
        rows: List[List[Any]] = []
        for index in range(len(arrays[0])):
            answers = self.run([array[index : index + 1] for array in arrays])
            rows.append([sample_row(answer) for answer in answers])
        named = zip([spec["name"] for spec in self.outputs], zip(*rows))
        return {name: np.stack(values) if batched else values[0] for name, values in named}

    def prepare(self, samples: Samples) -> Tuple[List[Any], bool]:
        """Network inputs [N, ...] in order, and whether they came as a batch. Raises SampleError."""
        import numpy as np

        from .preprocess import SampleError, prepared
        from .reading import read_sample, resize
        from .whole import refuse_rounding, refuse_unknown_ids

        arrays, batched = [], set()
        for number, (spec, sample) in enumerate(zip(self.inputs, self._in_order(samples))):
            how = self.how(number)
            if isinstance(sample, (str, os.PathLike)):
                sample = read_sample(os.fspath(sample), spec, how)
            array, axes = np.asarray(sample), len(spec["shape"])
            if array.ndim not in (axes - 1, axes):
                raise SampleError(
                    "input %s came with %d axes, %s" % (spec["name"], array.ndim, list(array.shape)),
                    allowed="a sample of %d axes, or a batch of %d" % (axes - 1, axes),
                )
            batched.add(array.ndim == axes)
            stored = array if array.ndim == axes else array[None]
            array = prepared(stored, how, resize)
            if not _fits(array.shape[1:], spec["shape"][1:]):
                came, gives = list(stored.shape[1:]), list(array.shape[1:])
                raise SampleError(
                    "input %s came as %s%s"
                    % (spec["name"], came, "" if came == gives else ", which gives %s" % gives),
                    allowed="%s%s" % ("" if came == gives else "what gives ", spec["shape"][1:]),
                )
            dtype = np.dtype(spec["dtype"])
            if dtype.kind in "iub":
                refuse_rounding(spec["name"], array, dtype)
            refuse_unknown_ids(spec["name"], array, self._vocabularies.get(spec["name"]))
            arrays.append(array)
        lengths = {len(array) for array in arrays}
        if len(batched) != 1 or len(lengths) != 1 or 0 in lengths:
            raise SampleError(
                "inputs came as %s" % [list(array.shape) for array in arrays],
                allowed="a sample of each input, or a batch of each, of one length above 0",
            )
        return arrays, batched.pop()

    def run(self, arrays: Sequence[Any]) -> List[Any]:
        """Network inputs [1, ...] in order through the network: its outputs in order, as they come."""
        answers = self._session.run({spec["name"]: array for spec, array in zip(self.inputs, arrays)})
        names = [spec["name"] for spec in self.outputs]
        if set(names) == set(answers):
            return [answers[name] for name in names]
        return list(answers.values())  # a converter renamed them, their order stands

    def golden_deviation(self) -> float:
        """How far the golden outputs are off here; at most `tolerance` where the artifact answers as it should."""
        from . import golden

        return golden.largest_deviation(self.run, *self.golden_samples())

    def golden_samples(self) -> Tuple[List[Any], List[Any]]:
        """Network inputs and outputs [samples, ...] in order, as they were when the bundle was written."""
        from . import golden

        return golden.read(self._golden_path, len(self.inputs), len(self.outputs))

    def how(self, number: int) -> Dict[str, Any]:
        """The preprocessing of an input, by the keys of preprocess.json."""
        return self._preprocess if number == 0 else AS_IT_IS

    def _in_order(self, samples: Samples) -> List[Any]:
        from .preprocess import SampleError

        names = [spec["name"] for spec in self.inputs]
        if isinstance(samples, Mapping):
            if set(samples) != set(names):
                raise SampleError("inputs came as %s" % sorted(samples), allowed=", ".join(names))
            return [samples[name] for name in names]
        if len(names) == 1:
            return [samples]
        if len(samples) != len(names):
            raise SampleError("%d arrays came" % len(samples), allowed="one for each of " + ", ".join(names))
        return list(samples)


def _fits(shape: Sequence[int], wanted: Sequence[Any]) -> bool:
    """Whether a shape is the wanted one, in which None is any size."""
    return len(shape) == len(wanted) and all(size in (None, have) for have, size in zip(shape, wanted))


# ---- infer.py at the bundle's root -------------------------------------------------------------------------

USAGE = """usage: python3 infer.py               checks the golden outputs
       python3 infer.py SAMPLES ...   answers them: for each input a .npy file of a stored sample or of a batch of
                                      them, or an image (.jpg, .png, ...) where the build was fed images"""


def main(arguments: Sequence[str]) -> int:
    """Check the golden outputs; with files of stored samples, one for each input, answer them. Gives the exit code."""
    bundle = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if any(argument in ("-h", "--help") for argument in arguments):
        print(USAGE)
        return 0
    try:
        with Model(bundle) as model:
            return _answer(model, arguments) if arguments else _check(model)
    except (ImportError, KeyError, OSError, RuntimeError, ValueError, zipfile.BadZipFile) as problem:
        from .forms import one_line
        from .process import printable

        sys.stderr.write(printable("infer.py: %s\n" % one_line(problem)))
    return 2


def _check(model: Model) -> int:
    off = model.golden_deviation()
    good = off <= model.tolerance
    print("golden outputs %s: off by %.3g" % ("match" if good else "DO NOT MATCH", off))
    return 0 if good else 1


def _answer(model: Model, paths: Sequence[str]) -> int:
    """A line for each output of each sample, and its best class where the outputs are class scores."""
    from .preprocess import SampleError
    from .process import printable

    names = [spec["name"] for spec in model.inputs]
    if len(paths) != len(names):
        raise SampleError("%d files came" % len(paths), allowed="one for each of " + ", ".join(names))
    arrays, batched = model.prepare(dict(zip(names, paths)))
    for index in range(len(arrays[0])):
        answers = model.run([array[index : index + 1] for array in arrays])
        begin = "sample %d: " % index if batched else ""
        for spec, answer in zip(model.outputs, answers):
            print(begin + _summary(spec["name"], answer))
        if answers[0].size > 1 and answers[0].size in (len(model.labels), answers[0].shape[-1]):
            top = int(answers[0].argmax())
            label = model.labels[top] if len(model.labels) == answers[0].size else ""
            print(printable("%stop class: %d %s" % (begin, top, label)))
    return 0


def _summary(name: str, answer: Any) -> str:
    text = "%s: shape %s" % (name, list(answer.shape))
    return text + (", from %.6g to %.6g" % (answer.min(), answer.max()) if answer.size else "")
