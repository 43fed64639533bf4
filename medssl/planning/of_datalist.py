"""From a datalist to a plan: measure, time, decide."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from medssl.common.bundles import Bundle, find_bundle, training_files
from medssl.common.memory import available_mb
from medssl.data.checks.run import check_datalist
from medssl.data.lists.datalist_file import load_datalist
from medssl.planning.fingerprint import Fingerprint, fingerprint_of
from medssl.planning.measures import measure_case
from medssl.planning.patch_search import Costs, ToldCosts
from medssl.planning.plan import Plan, Wishes, make_plan
from medssl.planning.rules import schedule as schedules
from medssl.planning.timing import StepTimer

logger = logging.getLogger(__name__)

MEMORY_SHARE = 0.7
"""Of the free memory that a training may take."""


def plan_datalist(
    datalist: str | Path,
    wishes: Wishes,
    *,
    step_seconds: float | None = None,
    num_classes: int | None = None,
    h5_spacing: float | Sequence[float] = 1.0,
    jobs: int = 1,
    seed: int = 0,
) -> tuple[Plan, Fingerprint]:
    """Make the plan of a data set.

    Args:
        datalist: the file.
        wishes: what the user says; its cores and memory are looked up here.
        step_seconds: of a training step; None to time it.
        num_classes: background included; None for what the datalist or the labels say.
        h5_spacing: mm, of HDF5 files.
        jobs: cases opened at a time.
        seed: of weights and scans of the timing.

    Returns:
        The plan, and what it was made of.

    Raises:
        InputError: the datalist cannot be read or has an error, or what :func:`make_plan` refuses.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if step_seconds is None and wishes.device == "cpu" and (busy := busy_line(cores)):
        logger.warning(busy)
    bundle = find_bundle("tcseg")
    method = wishes.method or "tcseg_own"
    files, _ = training_files(bundle, "custom", method, network=wishes.network)  # refuses unknown names early
    result = check_datalist(
        datalist, num_classes=num_classes, h5_spacing=h5_spacing, jobs=jobs, examine=measure_case
    )
    named = load_datalist(datalist).get("name")
    name = Path(datalist).stem if named in (None, "custom") else named
    fingerprint = fingerprint_of(result, where=str(datalist), name=str(name))
    device = torch.device(wishes.device)
    memory = available_mb(device)
    wishes = replace(
        wishes,
        cores=cores,
        memory_mb=None if memory is None else MEMORY_SHARE * memory,
        times_steps=step_seconds is None,
    )
    costs = _costs(bundle, files, fingerprint, wishes, device=device, step_seconds=step_seconds, seed=seed)
    return make_plan(fingerprint, wishes, costs), fingerprint


def busy_line(cores: int) -> str | None:
    """A line where other programs keep half of the cores busy; None where they do not, or nobody can say.

    Threads that wait for one another make a step many times longer then: 70 s were measured for one that
    takes 2 s with a single thread on the same busy machine.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= max(1.0, cores / 2):
        return None
    return (
        f"this machine is busy (load {load:.1f} on {cores} cores): steps take longer than they will, and the "
        "plan comes out small; plan when it is idle, with OMP_NUM_THREADS=1, or give --step-time"
    )


def _costs(
    bundle: Bundle,
    files: Sequence[Path],
    fingerprint: Fingerprint,
    wishes: Wishes,
    *,
    device: torch.device,
    step_seconds: float | None,
    seed: int,
) -> Costs:
    filters, _ = schedules.width(wishes.device)
    labeled, unlabeled, _ = schedules.batch(fingerprint)
    settings: dict[str, Any] = {
        "bundle_root": str(bundle.path),
        "in_channels": fingerprint.channels,
        "num_classes": fingerprint.num_classes,
        "width": filters,
        "labeled_per_batch": labeled,
    }
    if not unlabeled or wishes.method == "supervised":
        files, _ = training_files(bundle, "custom", "supervised", network=wishes.network)
    timer = StepTimer(files, settings, device=device, seed=seed)
    if step_seconds is None:
        return timer
    multiple = timer.multiple() if wishes.network is not None else 16
    return ToldCosts(step_seconds, multiple if isinstance(multiple, int) else max(multiple))
