"""`.pt2` programs (torch.export) as modules."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ModelError
from edgekit.model.pt2_archive import fresh_archive

if TYPE_CHECKING:
    import torch

__all__ = ["load_pt2"]


def load_pt2(path: Path, digest: str = "") -> torch.nn.Module:
    """The program as a module that is in eval mode and ignores train().

    Raises ModelError, also where `digest` (SHA-256, "": any) is not that of the file.
    """
    import logging
    import warnings

    import torch

    archive = fresh_archive(path, digest)
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(archive).module()
    except (
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        OSError,
        SyntaxError,
        pickle.UnpicklingError,
    ) as problem:  # what its deserializer raises on a damaged or newer archive
        first = str(problem).strip().splitlines()
        raise ModelError(
            f"{path} is not a readable .pt2 program: {first[0] if first else problem!r}"
        ) from problem
    finally:
        logger.setLevel(level)

    class ExportedNetwork(torch.nn.Module):
        """torch.export's module raises on train() and eval(); what it computes is fixed anyway."""

        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network
            self.training = False

        def train(self, mode: bool = True) -> ExportedNetwork:
            return self

        def forward(self, *inputs: torch.Tensor) -> object:
            return self.network(*inputs)

    return ExportedNetwork(program)
