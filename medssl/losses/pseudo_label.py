"""Positive and negative supervision by pseudo-labels (TCSeg eq. 14)."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Over = Literal["selected", "all"]


def masked_mean(values: Tensor, mask: Tensor, over: Over | Tensor = "selected") -> Tensor:
    """Sum of ``values`` where ``mask`` is true, over the count of what it selects, of all or of some.

    0, with a graph, where the mask is true nowhere. Over the selected ones a handful of voxels weighs as
    much as a whole volume; over all voxels (FixMatch's way) the loss fades with the selection.

    Args:
        values: of any shape.
        mask: bool of that shape.
        over: what to divide by; or bool of that shape, true where a value counts, such as the voxels that are
            image and not padding.
    """
    total = (values * mask).sum()
    if isinstance(over, Tensor):
        return total / over.sum().clamp(min=1)
    return total / (mask.sum().clamp(min=1) if over == "selected" else mask.numel())


def positive_loss(
    logits: Tensor,
    labels: Tensor,
    mask: Tensor,
    weight: Tensor | None = None,
    *,
    over: Over | Tensor = "selected",
) -> Tensor:
    """Cross-entropy with pseudo-labels, mean over the masked voxels.

    Args:
        logits: ``(B, K, *S)``.
        labels: ``(B, *S)`` pseudo-labels.
        mask: ``(B, *S)`` bool, the voxels that may be believed.
        weight: ``(B, *S)`` factor per voxel; the mean is over voxels, not over weights.
        over: see :func:`masked_mean`.
    """
    loss = F.cross_entropy(logits.float(), labels, reduction="none")
    return masked_mean(loss if weight is None else loss * weight, mask, over)


def negative_loss(
    probs: Tensor, mask: Tensor, weight: Tensor | None = None, *, over: Over = "selected"
) -> Tensor:
    """``-log(1 - p_k)`` where class ``k`` is ruled out, mean over the masked (voxel, class) pairs.

    For two classes this is the cross-entropy with the other class.

    Args:
        probs: ``(B, K, *S)`` softmax probabilities.
        mask: ``(B, K, *S)`` bool, true where class ``k`` is ruled out.
        weight: ``(B, K, *S)`` factor.
        over: see :func:`masked_mean`.
    """
    loss = -(1 - probs).clamp(1e-6, 1).log()
    return masked_mean(loss if weight is None else loss * weight, mask, over)
