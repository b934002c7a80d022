"""Which device and which arithmetic training uses on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgekit.errors import UserError

__all__ = ["multiplies_bf16", "resolve_device"]


def cpu_multiplies_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has bf16 multiply-add (AVX512-BF16, AMX-BF16).

    bf16 autocast takes a third of float32's time there; without them it is emulated, 15 times slower than
    float32 on AVX2 (ResNet-20, batch 128, torch 2.13).
    """
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())


def multiplies_bf16(device: Literal["cpu", "cuda"]) -> bool:
    """Whether `device` of this machine has native bf16 arithmetic."""
    import torch

    return torch.cuda.is_bf16_supported() if device == "cuda" else cpu_multiplies_bf16()


def resolve_device(wanted: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """The device to train on. Raises UserError when CUDA is asked for and absent."""
    import torch

    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise UserError("device is cuda, but torch sees no CUDA device here", allowed="auto, cpu")
    return "cuda" if present and wanted != "cpu" else "cpu"
