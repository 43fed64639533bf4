"""Probabilities that are probabilities again after they were resampled."""

import torch
from torch import Tensor


def complete_probabilities(probs: Tensor) -> Tensor:
    """Probabilities that sum to 1 again after resampling and un-cropping.

    Undoing a crop fills what was cut away with zeros in every class, and interpolation at its edge mixes
    with them: a voxel that has less than half of its mass is background, any other is normalised.

    Args:
        probs: ``(K, *S)``, background first, sums in [0, 1] up to rounding.

    Returns:
        ``(K, *S)`` float32.
    """
    probs = probs.float().clamp(min=0)
    total = probs.sum(0, keepdim=True)
    background = torch.zeros_like(probs)
    background[0] = 1
    return torch.where(total < 0.5, background, probs / total.clamp(min=0.5))
