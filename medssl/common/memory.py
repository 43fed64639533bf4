"""How much memory there is, and how much a piece of work takes."""

import os
from collections.abc import Callable
from pathlib import Path

import torch

_MIB = 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def available_mb(device: torch.device) -> float | None:
    """MiB that a process may still take on a device; None where the operating system does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(free / _MIB)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _MIB
    except (ValueError, OSError, AttributeError):
        return None


def peak_growth_mb(work: Callable[[], object], device: torch.device) -> float | None:
    """Do a piece of work; the most memory that it took beside what was taken before, MiB.

    On a GPU what torch held; else resident memory of the process, which Linux alone tells (None elsewhere).
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return float((torch.cuda.max_memory_allocated(device) - before) / _MIB)
    try:
        _CLEAR.write_text("5")  # the peak begins anew
        before_mb = _resident_mb("VmRSS")
    except OSError:
        work()
        return None
    work()
    return max(_resident_mb("VmHWM") - before_mb, 0.0)


def _resident_mb(name: str) -> float:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024
