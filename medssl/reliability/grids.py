"""From the grid of the views to a coarser one of embeddings and back; both lie over the same image."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.reliability.measures import full_precision

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""torch's name of linear interpolation, by the number of spatial axes."""


def on_grid(x: Tensor, size: Sequence[int]) -> Tensor:
    """Linear interpolation on another grid; ``x`` itself, bit for bit, where it lies on that grid already.

    Args:
        x: ``(B, C, *S)`` with one to three spatial axes.
        size: the sides of the other grid; cells at the border of both end where the image does.

    Returns:
        ``(B, C, *size)``, in float32 at least; probabilities still sum to 1.
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(full_precision(x), tuple(size), mode=LINEAR[x.ndim - 2], align_corners=False)


def covered(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Which cells of a coarser grid hold set pixels alone.

    Args:
        mask: bool ``(B, *S)``.
        size: the sides of the coarser grid.

    Returns:
        Bool ``(B, *size)``; ``mask`` itself where it lies on that grid already.
    """
    if tuple(mask.shape[1:]) == tuple(size):
        return mask
    pool = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}[mask.ndim - 1]
    holes: Tensor = pool((~mask).unsqueeze(1).float(), tuple(size))
    return holes.squeeze(1) == 0
