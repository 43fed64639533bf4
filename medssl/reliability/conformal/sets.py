"""From sets of classes to labels: ConformalSAM's rule (ICCV 2025, equation 4)."""

import torch
from torch import Tensor

from medssl.common.constants import IGNORE


def labels_of_sets(sets: Tensor, probs: Tensor, *, background: int | None = 0) -> Tensor:
    """One label a pixel: the most probable class of its set, background only where it is alone.

    A set that is empty gives no label. The printed equation has the same condition twice and no line for a
    set of background alone, which would leave no background labels at all; here such a set is background.

    Args:
        sets: bool ``(B, K, *S)``.
        probs: ``(B, K, *S)``.
        background: class id that gives way to every other class of the set; None where there is none such,
            as in street scenes.

    Returns:
        int64 ``(B, *S)``, 255 where ignored.

    >>> sets = torch.tensor([[[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]]).bool()
    >>> probs = torch.tensor([0.5, 0.2, 0.3]).view(1, 3, 1).expand(1, 3, 4)
    >>> labels_of_sets(sets, probs)
    tensor([[255,   0,   1,   2]])
    >>> labels_of_sets(sets, probs, background=None)
    tensor([[255,   0,   0,   0]])
    """
    rivals = torch.where(sets, probs, -1.0)
    if background is not None:
        rivals[:, background] = -1.0
    top = rivals.max(1)
    label = torch.where(top.values >= 0, top.indices, IGNORE)
    if background is None:
        return label
    return torch.where((top.values < 0) & sets[:, background], background, label)
