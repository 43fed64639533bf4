"""Confidence alone: the policy of FixMatch and UniMatch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.reliability.measures import mean_view
from medssl.reliability.selectors.base import Selection, Selector


class ConfidenceThreshold(Selector):
    """Believe a voxel where the mean view is confident: the policy of FixMatch and UniMatch.

    Args:
        threshold: least confidence of a believed voxel, in [0, 1]; 0 believes every voxel.

    Raises:
        ValueError: where ``threshold`` is outside [0, 1].
    """

    def __init__(self, threshold: float = 0.95) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {threshold}")
        self.threshold = threshold

    def extra_repr(self) -> str:
        """The threshold."""
        return f"{self.threshold}"

    @torch.no_grad()
    def select(self, views: Sequence[Tensor], *, features: Sequence[Tensor] | None = None) -> Selection:
        """The most probable class of the mean view, believed from the threshold on; features do not count."""
        top = mean_view(views).max(1)
        return Selection(top.indices, top.values >= self.threshold)
