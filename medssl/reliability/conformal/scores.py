"""Nonconformity scores of labelled images: what conformal quantiles are taken of."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.reliability.grids import on_grid
from medssl.reliability.measures import full_precision

ArrayLike = Tensor | NDArray[Any]

ABSENT = torch.inf
"""Score of a place that nobody labelled, or whose label is another class's."""


def nonconformity(probs: Tensor) -> Tensor:
    """``1 - P``, in [0, 1]: one expression for calibration and prediction, so that both round alike."""
    return (1 - full_precision(probs)).clamp(0, 1)


def labeled_image(probs: ArrayLike, labels: ArrayLike, number: int) -> tuple[Tensor, Tensor]:
    """One image's probabilities ``(K, *S)`` and labels ``(*T)`` as tensors on the CPU, checked.

    Args:
        probs: in [0, 1].
        labels: class ids, 255 where ignored.
        number: of the image, for what is said of it.

    Raises:
        ValueError: shapes that do not belong together, probabilities out of range, or unknown class ids.
    """
    p, y = full_precision(torch.as_tensor(probs).detach().cpu()), torch.as_tensor(labels).detach().cpu()
    if p.ndim < 2 or y.ndim != p.ndim - 1 or not (p.numel() and y.numel()):
        raise ValueError(
            f"image {number}: probs (K, *S) and labels (*T) must belong together, "
            f"got {tuple(p.shape)} and {tuple(y.shape)}"
        )
    if not p.isfinite().all() or p.min() < 0 or p.max() > 1 + 1e-3:
        raise ValueError(f"image {number}: probs must be in [0, 1]")
    y = y.long()
    known = y[y != IGNORE]
    if known.numel() and not 0 <= int(known.min()) <= int(known.max()) < len(p):
        raise ValueError(f"image {number}: labels must be 0 to {len(p) - 1}, or {IGNORE} where ignored")
    return p, y


def image_scores(probs: Tensor, labels: Tensor, grid: Sequence[int] | None) -> tuple[Tensor, Tensor]:
    """Scores of the reference classes of one image, and these classes.

    Args:
        probs: ``(K, *S)``, brought to the grid linearly.
        labels: ``(*T)``, brought to it by nearest neighbour.
        grid: its sides; None for the labels' own grid, of which labelled pixels alone are kept.

    Returns:
        float32 and uint8 ``(L,)``: of the grid's places, :data:`ABSENT` where nothing is labelled, or of the
        labelled pixels.
    """
    if grid is not None:
        labels = nearest(labels.unsqueeze(0), grid)[0].long()
    probs = on_grid(probs.unsqueeze(0), labels.shape)[0].flatten(1)
    labels = labels.flatten()
    known = labels != IGNORE
    if grid is None:
        probs, labels, known = probs[:, known], labels[known], known[known]
    of_class = probs.gather(0, labels.where(known, 0).unsqueeze(0))[0]
    return nonconformity(of_class).float().where(known, ABSENT), labels.to(torch.uint8)


def nearest(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``(C, *S)`` on another grid over the same image, by nearest neighbour, in float32."""
    if tuple(maps.shape[1:]) == tuple(size):
        return maps
    return F.interpolate(maps.unsqueeze(0).float(), tuple(size), mode="nearest-exact")[0]
