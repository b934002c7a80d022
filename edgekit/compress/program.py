"""A network as the graph that torch.export makes of it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import example_tensors
from edgekit.errors import StageError, in_one_line

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["exported_program", "operator_name"]

_TRACE_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, AttributeError, KeyError)


def exported_program(module: torch.nn.Module, example: Example) -> Any:
    """`module` (put into eval mode) traced on `example`. Raises StageError when torch.export cannot."""
    import torch

    device = next((str(parameter.device) for parameter in module.parameters()), "cpu")
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(module.eval(), example_tensors(example, device), strict=False)
        except _TRACE_ERRORS as error:
            raise StageError(
                "prune",
                f"the network cannot be traced for pruning ({type(error).__name__}: {in_one_line(error)})",
                "build with --no-prune",
            ) from error


def operator_name(node: Any) -> str:
    """The operator of a node, without overload and the underscore of its form in place; "" for what is none."""
    schema = getattr(node.target, "_schema", None)
    return "" if schema is None else str(schema.name).rpartition("::")[2].rstrip("_")
