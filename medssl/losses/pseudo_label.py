"""Positive and negative supervision by pseudo-labels (TCSeg eq. 14)."""

from torch import Tensor
from torch.nn import functional as F


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` is true; 0, with a graph, where it is true nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def positive_loss(logits: Tensor, labels: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy with pseudo-labels, mean over the masked voxels.

    Args:
        logits: ``(B, K, *S)``.
        labels: ``(B, *S)`` pseudo-labels.
        mask: ``(B, *S)`` bool, the voxels that may be believed.
        weight: ``(B, *S)`` factor per voxel; the mean is over voxels, not over weights.
    """
    loss = F.cross_entropy(logits.float(), labels, reduction="none")
    return masked_mean(loss if weight is None else loss * weight, mask)


def negative_loss(probs: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """``-log(1 - p_k)`` where class ``k`` is ruled out, mean over the masked (voxel, class) pairs.

    For two classes this is the cross-entropy with the other class.

    Args:
        probs: ``(B, K, *S)`` softmax probabilities.
        mask: ``(B, K, *S)`` bool, true where class ``k`` is ruled out.
        weight: ``(B, K, *S)`` factor.
    """
    loss = -(1 - probs).clamp(1e-6, 1).log()
    return masked_mean(loss if weight is None else loss * weight, mask)
