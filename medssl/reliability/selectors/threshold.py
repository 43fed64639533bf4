"""Confidence alone: the policy of FixMatch and UniMatch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.reliability.measures import mean_view
from medssl.reliability.selectors.base import Selection


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
