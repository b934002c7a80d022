"""Answers as JSON, .npy or .npz, as the client asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from edgekit.serving.batching import SampleAnswer
from edgekit.serving.problems import RequestProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.board import Model

__all__ = ["Timing", "encode_answers", "wanted_form"]

Form = Literal["json", "npy", "npz"]

FORMS: dict[str, Form] = {
    "application/json": "json",
    "application/x-npy": "npy",
    "application/x-npz": "npz",
    "application/zip": "npz",
    "application/*": "json",
    "*/*": "json",
}
MEDIA = {"json": "application/json", "npy": "application/x-npy", "npz": "application/x-npz"}


@dataclass(frozen=True)
class Timing:
    """Of one request, in milliseconds: in all, and of its slowest sample in the queue and in the network."""

    total_ms: float
    queued_ms: float
    inference_ms: float
    batch: int

    def header(self) -> str:
        """As `Server-Timing` has it."""
        return f"queue;dur={self.queued_ms:.3f}, inference;dur={self.inference_ms:.3f}, total;dur={self.total_ms:.3f}"


def wanted_form(accept: str, outputs: int) -> Form:
    """What the header `Accept` asks for: of several the one with the highest q, the first of equals.

    Raises RequestProblem, 406, where it allows none, or one array for several outputs.
    """
    asked = []
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            asked.append((float(weight), kind))
        except ValueError:
            asked.append((0.0, kind))
    known = [(weight, FORMS[kind]) for weight, kind in asked if kind in FORMS and weight > 0]
    if not known:
        raise RequestProblem(
            406, f"Accept is {accept}", allowed="application/json, application/x-npy, application/x-npz"
        )
    form = max(known, key=lambda item: item[0])[1]
    if form == "npy" and outputs != 1:
        raise RequestProblem(
            406, f"the network has {outputs} outputs", allowed="application/x-npz, application/json"
        )
    return form


def encode_answers(
    model: Model, answers: list[SampleAnswer], batched: bool, form: Form, timing: Timing
) -> tuple[bytes, str]:
    """The body and its content type. Outputs have an axis for the samples where these came as a batch.

    Raises RequestProblem where samples gave outputs of different shapes.
    """
    names = [spec["name"] for spec in model.outputs]
    outputs: dict[str, NDArray[Any]] = {}
    for number, name in enumerate(names):
        values = [answer.outputs[number] for answer in answers]
        if len({value.shape for value in values}) > 1:
            raise RequestProblem(
                422,
                f"output {name} has a shape of its own for each sample",
                remedy="send one sample per request",
            )
        outputs[name] = np.stack(values) if batched else values[0]
    if form == "json":
        return _json(model, outputs, len(answers), batched, timing), MEDIA["json"]
    stream = io.BytesIO()
    if form == "npy":
        np.save(stream, outputs[names[0]], allow_pickle=False)
    else:
        np.savez(stream, allow_pickle=False, **outputs)
    return stream.getvalue(), MEDIA[form]


def _json(model: Model, outputs: dict[str, NDArray[Any]], count: int, batched: bool, timing: Timing) -> bytes:
    content: dict[str, Any] = {
        "outputs": {name: array.tolist() for name, array in outputs.items()},
        "time_ms": {
            "total": round(timing.total_ms, 3),
            "queue": round(timing.queued_ms, 3),
            "inference": round(timing.inference_ms, 3),
            "batch": timing.batch,
        },
    }
    classes = _classes(model.labels, next(iter(outputs.values())), count)
    if classes:
        content["classes"] = classes if batched else classes[0]
    odd = [
        name for name, array in outputs.items() if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
    if odd:  # JSON has no word for them
        content["warning"] = f"{', '.join(odd)}: the network gave NaN or infinite values, which are null here"
    return msgspec.json.encode(content)


def _classes(labels: list[str], scores: NDArray[Any], count: int) -> list[dict[str, Any]]:
    """The best class of each sample, where the first output has a score for each label."""
    if not labels or scores.size != count * len(labels):
        return []
    best = scores.reshape(count, len(labels)).argmax(axis=1)
    return [{"index": int(index), "label": labels[index]} for index in best]
