"""What a bundle's settings mean: schedules, devices, and who may choose the best checkpoint."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from monai.transforms import Compose
from torch import nn

from medssl.common.errors import InputError, unknown_name
from medssl.common.ranks import launched, local_rank, world_size
from medssl.common.run_folder import Selection
from medssl.methods import SigmoidRamp

Value = TypeVar("Value")


def epochs(max_steps: int, steps_per_epoch: int) -> int:
    """Epochs of ``steps_per_epoch`` optimiser steps that make ``max_steps``.

    Raises:
        InputError: they do not divide; the nearest numbers that do are named.
    """
    if max_steps < 1 or steps_per_epoch < 1 or max_steps % steps_per_epoch:
        at_least_one = max(max_steps, 1), max(steps_per_epoch, 1)
        nearest = max(1, round(max_steps / at_least_one[1])) * at_least_one[1]
        raise InputError(
            f"max_steps={max_steps}",
            f"not a multiple of steps_per_epoch={steps_per_epoch}",
            f"set max_steps to {nearest}, or steps_per_epoch to {math.gcd(*at_least_one)}",
        )
    return max_steps // steps_per_epoch


def steps_of_pass(datalist: Mapping[str, Any], rows: int) -> int:
    """Steps in which the unlabelled cases are seen once: the epoch of FixMatch, UniMatch and their like.

    Of a datalist without an unlabelled case, those in which the labelled ones are. A batch that would not be
    full is left out; there is one step at least.

    Args:
        datalist: of the training.
        rows: cases of that list in a batch, of each of the processes that torchrun started.
    """
    cases = datalist["unlabeled"] or datalist["training"]
    return max(1, len(cases) // (max(1, rows) * launched()))


def share_of_steps(max_steps: int, share: float) -> int:
    """The number of steps that is a share of a training, to the nearest.

    Args:
        max_steps: steps of the training.
        share: 0 for none of them; above 1 for more than the training has.

    Raises:
        InputError: a share that is negative or no number.
    """
    if not isinstance(share, int | float) or not share >= 0:
        raise InputError(f"share {share!r}", "is no share of max_steps", "give a number such as 0.1")
    return round(share * max_steps)


def ramp(max_steps: int, *, share: float, stairs: int) -> SigmoidRamp:
    """A ramp over a share of a training, in so many stairs of equal length, at least a step each.

    The published ramp is ``ramp(20_000, share=0.3, stairs=40)``: 6,000 updates in stairs of 150.

    Raises:
        InputError: as :func:`share_of_steps`; fewer than one stair.
    """
    if stairs < 1:
        raise InputError(f"ramp_stairs={stairs}", "too few", "give 1 or more")
    length = share_of_steps(max_steps, share)
    return SigmoidRamp(length=length, interval=max(length // stairs, 1))


def default_device() -> torch.device:
    """The GPU, where there is one; with several processes each has its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank()) if "LOCAL_RANK" in os.environ else torch.device("cuda")


def synchronize_batch_norm(network: nn.Module, device: torch.device | str) -> None:
    """Let batch norm count the images of all processes, in place; on a CPU, where torch cannot, nothing.

    Published trainings of images run two or four a GPU. Weights and their names stay, so that optimiser and
    checkpoints go on with them; so do copies made before, such as a teacher's, which normalise by stored
    statistics.
    """
    if torch.device(device).type == "cuda" and world_size() > 1:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]


def prediction_precision(amp: str) -> Literal["off", "bf16"]:
    """The precision of predictions of a model trained with ``amp``: fp16 is for training alone."""
    return "bf16" if amp == "bf16" else "off"


def in_folder(folder: str | Path, name: str) -> str:
    """The path of a file in a folder."""
    return str(Path(folder) / name)


def composed(transforms: Sequence[Any]) -> Compose:
    """Transforms in their order; None among them (``_disabled_``) is left out."""
    return Compose([transform for transform in transforms if transform is not None])


def unchanged(value: Value) -> Value:
    """The value itself: what a trainer's output needs no transform for."""
    return value


def selection_of(datalist: Mapping[str, Any], asked: str) -> Selection:
    """Who chooses ``best.pt``: what was asked for, or ``"none"`` where there are no validation cases."""
    if asked not in get_args(Selection):
        raise unknown_name("selection", str(asked), get_args(Selection))
    if asked == "test-oracle":
        return "test-oracle"
    return "validation" if asked == "validation" and datalist.get("validation") else "none"


def validation_cases(datalist: Mapping[str, Any], asked: str) -> list[dict[str, Any]]:
    """The cases that the validation during training looks at; the test cases only for ``"test-oracle"``.

    Raises:
        InputError: an unknown selection, or ``"test-oracle"`` without test cases.
    """
    selection = selection_of(datalist, asked)
    if selection == "test-oracle" and not datalist.get("test"):
        raise InputError("selection=test-oracle", "there are no test cases", "use selection=validation")
    lists = {"validation": "validation", "test-oracle": "test"}
    return list(datalist[lists[selection]]) if selection in lists else []


def evaluation_cases(datalist: Mapping[str, Any], which: str) -> list[dict[str, Any]]:
    """Items of a list with the label under ``reference``, to be scored in the geometry of its file.

    Raises:
        InputError: no such list, or a case without a label.
    """
    if which not in ("test", "validation"):
        raise unknown_name("evaluate_on", str(which), ("test", "validation"))
    items = []
    for item in datalist.get(which, []):
        if "label" not in item:
            raise InputError(
                item["image"], "has no label to score against", f"take it out of the {which} list"
            )
        items.append({**{k: v for k, v in item.items() if k != "label"}, "reference": item["label"]})
    return items
