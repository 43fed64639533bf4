"""What a training costs: parameters, seconds a step and memory."""

import json
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from medssl.networks import Deployed
from medssl.training.trainer import SemiSupervisedTrainer


def training_cost(trainer: SemiSupervisedTrainer, log: Path) -> dict[str, Any]:
    """Cost of a training that has ended, for its ``run.json``.

    Args:
        trainer: the engine after :meth:`~medssl.training.trainer.SemiSupervisedTrainer.run`.
        log: its ``log.jsonl``; seconds a step are the median over the stretches between two ``train`` lines
            of one epoch, so that validations, checkpoints and the pause of a resumed run do not enter.

    Returns:
        ``parameters`` of the trained network, ``deployed_parameters``, ``seconds_per_step`` (None where the
        log has no two lines in one epoch), ``peak_memory_mb`` (MiB: of the GPU where there is one, else of
        the process), ``device`` and ``threads``.
    """
    network = trainer.method.network
    device = torch.device(trainer.state.device)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "deployed_parameters": sum(p.numel() for p in Deployed(network).parameters()),
        "seconds_per_step": seconds_per_step(log),
        "peak_memory_mb": peak_memory_mb(device),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }


def seconds_per_step(log: Path) -> float | None:
    """Median seconds of a step in a ``log.jsonl``; None where no epoch has two lines of training."""
    if not log.is_file():
        return None
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    train_lines = [line for line in lines if line["event"] == "train"]
    seconds_of_stretches = [
        (after["seconds"] - before["seconds"]) / (after["step"] - before["step"])
        for before, after in pairwise(train_lines)
        if before["epoch"] == after["epoch"]
    ]
    return round(statistics.median(seconds_of_stretches), 6) if seconds_of_stretches else None


def peak_memory_mb(device: torch.device) -> float | None:
    """Largest memory so far, MiB: what torch held on a GPU, else the resident size of the process.

    None where the operating system does not tell (Windows).
    """
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    try:
        import resource
    except ImportError:
        return None
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_per_unit / 2**20, 1)
