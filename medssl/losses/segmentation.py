"""Losses against a label map: soft Dice and cross-entropy."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from medssl.common.constants import IGNORE


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Class ids ``(B, *S)`` as float32 indicators ``(B, K, *S)``; ids outside ``0..K-1`` give zeros."""
    ids = torch.arange(num_classes, device=labels.device).view(1, -1, *[1] * (labels.ndim - 1))
    return (labels.unsqueeze(1) == ids).float()


def dice_loss(probs: Tensor, labels: Tensor, *, smooth: float = 1e-8) -> Tensor:
    """Soft Dice loss without squares, over the whole batch at once, mean over foreground classes.

    ``1 - (2 sum p y + e) / (sum p + sum y + e)``, as MC-Net (Wu et al. 2021) and TCSeg use it. Equal to
    MONAI's ``DiceLoss(include_background=False, batch=True)`` with the same smoothing, which cannot leave
    ignored voxels out; hence our own.

    Args:
        probs: ``(B, K, *S)`` softmax probabilities.
        labels: ``(B, *S)`` class ids; voxels of 255 do not count.
        smooth: ``e``.

    Returns:
        A scalar in [0, 1].
    """
    target = one_hot(labels, probs.shape[1])[:, 1:]
    foreground = probs[:, 1:].float() * (labels != IGNORE).unsqueeze(1)
    axes = [0, *range(2, probs.ndim)]
    overlap = (foreground * target).sum(axes)
    total = foreground.sum(axes) + target.sum(axes)
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits ``(B, K, *S)`` over the voxels that are not ignored, in float32.

    0, with a graph, where all are, as in a crop of an image's padding; torch's mean is not a number there.
    """
    total = F.cross_entropy(logits.float(), labels.long(), ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp(min=1)


def supervised_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and soft Dice of one decoder; arguments as for :func:`supervised_loss`."""
    return cross_entropy(logits, labels), dice_loss(logits.float().softmax(1), labels)


def supervised_loss(logits: Tensor | Sequence[Tensor], labels: Tensor) -> Tensor:
    """Mean of cross-entropy and soft Dice, over one decoder or several.

    Args:
        logits: ``(B, K, *S)``, or one such tensor a decoder.
        labels: ``(B, *S)`` class ids; voxels of 255 do not count.

    Returns:
        A float32 scalar.
    """
    decoders = [logits] if isinstance(logits, Tensor) else logits
    terms = [term for decoder in decoders for term in supervised_terms(decoder, labels)]
    return sum(terms, labels.new_zeros((), dtype=torch.float32)) / len(terms)
