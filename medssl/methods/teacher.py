"""The exponential-moving-average teacher (mean teacher, Tarvainen and Valpola 2017)."""

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """A slow copy of the student that never receives a gradient.

    ``theta_t <- a theta_t + (1 - a) theta_s`` with ``a = min(1 - 1 / (step + 1), alpha)``, so that the
    first update copies the student. The teacher starts as a copy of it.

    torch's ``AveragedModel`` knows neither the warm-up of ``a`` nor a teacher that keeps normalising
    with the statistics of its own batch, and prefixes the state with a counter; hence our own.

    Args:
        student: the network to follow.
        alpha: upper bound of the decay.
        buffers: ``"own"``: the teacher's normalisation buffers come from its own forward passes;
            ``"copy"``: they are copied from the student at every update.
        mode: ``"train"``: the teacher runs with dropout and batch statistics even while it only
            produces targets (the published TCSeg and mean-teacher code); ``"eval"``: with its buffers.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        alpha: float = 0.99,
        buffers: Literal["own", "copy"] = "own",
        mode: Literal["train", "eval"] = "train",
    ) -> None:
        super().__init__()
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), got {alpha}")
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.alpha, self.buffers_from, self.mode = alpha, buffers, mode

    def train(self, mode: bool = True) -> "Teacher":
        """Follow the method's training mode, but stay in evaluation mode where ``mode="eval"``."""
        super().train(mode and self.mode == "train")
        return self

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Move towards the student after optimiser step number ``step`` (from 0)."""
        alpha = min(1 - 1 / (step + 1), self.alpha)
        averaged: list[Tensor] = list(self.network.parameters())
        latest: list[Tensor] = list(student.parameters())
        torch._foreach_lerp_(averaged, latest, 1 - alpha)
        if self.buffers_from == "copy":
            for buffer, source in zip(self.network.buffers(), student.buffers(), strict=True):
                buffer.copy_(source)

    @torch.no_grad()
    def forward(self, *args: Any) -> Any:
        """What the teacher's network gives, without a graph."""
        return self.network(*args)
