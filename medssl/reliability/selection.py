"""What a selector is: it turns views into pseudo-labels and says which of them may be believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from medssl.reliability.measures import mean_view


@dataclass(frozen=True)
class Selection:
    """Pseudo-labels and which of them to train on. Nothing in it carries a gradient.

    Attributes:
        labels: class ids ``(B, *S)``, int64, defined at every voxel.
        mask: bool ``(B, *S)``, true where the label is believed.
        weight: float ``(B, *S)``, how much a believed voxel counts; None where all count alike.
    """

    labels: Tensor
    mask: Tensor
    weight: Tensor | None = None


@runtime_checkable
class Selector(Protocol):
    """Any reliability policy, as a method sees it."""

    def select(self, views: Sequence[Tensor]) -> Selection:
        """Pseudo-labels from at least one view of probabilities ``(B, K, *S)`` of the same input."""
        ...


@dataclass(frozen=True)
class ConfidenceThreshold:
    """Believe a voxel where the mean view is confident: the policy of FixMatch and UniMatch.

    Args:
        threshold: least confidence of a believed voxel, in [0, 1]; 0 believes every voxel.

    Raises:
        ValueError: where ``threshold`` is outside [0, 1].
    """

    threshold: float = 0.95

    def __post_init__(self) -> None:
        """Check the threshold."""
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {self.threshold}")

    @torch.no_grad()
    def select(self, views: Sequence[Tensor]) -> Selection:
        """The most probable class of the mean view, believed from the threshold on."""
        top = mean_view(views).max(1)
        return Selection(top.indices, top.values >= self.threshold)
