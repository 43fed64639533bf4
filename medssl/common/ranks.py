"""The few facts about the process group that training needs; one process where there is none."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def world_size() -> int:
    """Number of training processes."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if world_size() > 1 else 0


def local_rank() -> int:
    """Number of this process on its machine, as torchrun counts; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def launched() -> int:
    """Number of processes that torchrun started, whether they have met or not; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def init_process_group(device: torch.device | str) -> None:
    """Join the process group that torchrun describes: NCCL on a GPU, gloo on the CPU."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def gather(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks, in every process."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


def on_first_rank(action: Callable[[], T]) -> T:
    """What ``action`` returns or raises in the first process, in every process; the others wait for it."""
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = action()
        except Exception as error:
            outcome[1] = error
    if world_size() > 1:
        distributed.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result
