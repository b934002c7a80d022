"""The pages of a service: files that load nothing from anywhere."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from edgekit._version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

    from edgekit.serving.service import Service

__all__ = ["api_page", "try_page"]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("edgekit.serving"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def try_page(service: Service) -> str:
    """`/`: takes an image or an array, shows the outputs and their time."""
    return _render("try.html.j2", service)


def api_page(service: Service) -> str:
    """`/docs`: how to ask, with this model's names and shapes."""
    return _render("api.html.j2", service)


def _render(template: str, service: Service) -> str:
    model = service.model
    how = model.how(0)
    first = model.inputs[0]
    return (
        _environment()
        .get_template(template)
        .render(
            version=__version__,
            name=service.name,
            inputs=[_told(spec) for spec in model.inputs],
            outputs=[_told(spec) for spec in model.outputs],
            labels=model.labels,
            how={key: value for key, value in how.items() if value not in (None, (), [], 1.0)},
            takes_images=len(model.inputs) == 1
            and how["input_layout"] != "as-is"
            and len(first["shape"]) == 4,
            limits=service.limits,
            alone=service.alone,
            workers=len(service.models),
        )
    )


def _told(spec: dict[str, Any]) -> dict[str, Any]:
    """Without the batch's axis: as one sample has it."""
    sizes = ["any" if size is None else str(size) for size in spec["shape"][1:]]
    return {"name": spec["name"], "dtype": spec["dtype"], "shape": " × ".join(sizes) or "a number"}
