"""A network as the graph that torch.export makes of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgekit.compress.base import example_tensors
from edgekit.errors import StageError, in_one_line

if TYPE_CHECKING:
    import torch

    from edgekit.compress.base import Example

__all__ = ["exported_program", "only_checks", "operator_name", "options_of", "tensors_of"]

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


def only_checks(node: Any) -> bool:
    """Whether the operator gives and changes nothing: it asserts something of its input."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.returns and not schema.is_mutable


def options_of(node: Any) -> dict[str, Any]:
    """Arguments of an operator by the names of its schema."""
    names = [argument.name for argument in node.target._schema.arguments]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def tensors_of(node: Any) -> Iterator[Any]:
    """Nodes that an operator reads, in the order of its arguments; one that stands there twice comes twice."""
    import torch

    for argument in (*node.args, *node.kwargs.values()):
        for part in argument if isinstance(argument, (list, tuple)) else (argument,):
            if isinstance(part, torch.fx.Node):
                yield part
