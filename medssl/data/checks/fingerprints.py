"""Which scans are the same: a hash of the voxels, and a coarse look that survives re-export and cropping."""

import hashlib
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool3d

GRID = 40
"""Cells along each axis of a :func:`coarse_look`."""

CELLS = 12
"""Cells along each axis of the views that are compared."""

WINDOWS = tuple(
    (start, start + length)
    for length, starts in ((1.0, (0.0,)), (0.9, (0.0, 0.05, 0.1)), (0.8, (0.0, 0.05, 0.1, 0.15, 0.2)))
    for start in starts
)
"""Parts of an axis that another scan may have been cropped to."""

NEAR_DUPLICATE = 0.9
"""Similarity from which two scans are called near-duplicates; docs/check.md says how it was chosen."""


class Likeness(NamedTuple):
    """Two scans that look alike.

    Attributes:
        first: position of one.
        second: position of the other, larger.
        similarity: correlation of their best views, at most 1.
    """

    first: int
    second: int
    similarity: float


def content_hash(image: Tensor) -> str:
    """SHA-256 of shape and intensities of an image ``(C, X, Y, Z)`` in float32.

    Compression, file name, format, stored type and header do not enter, so that a scan saved anew is found.
    Nor does the affine: the field's own tools drop it, and the scan remains the same scan.

    Args:
        image: as :meth:`medssl.data.LoadCased.volume` returns it.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(repr(tuple(image.shape)).encode())
    values = (image.detach().to(torch.float32) + 0.0).contiguous()  # -0.0 becomes 0.0
    digest.update(values.numpy().data)
    return digest.hexdigest()


def coarse_look(image: Tensor) -> Tensor:
    """What of a scan survives re-export: ranks of mean intensities on a coarse grid.

    The first channel is trimmed to the box of voxels above its minimum (padding goes), averaged over
    ``GRID`` cells along each axis, and each mean replaced by its rank among all means, in [0, 1], which any
    increasing map of intensities leaves as it is.

    Args:
        image: ``(C, X, Y, Z)``, finite and not constant.

    Returns:
        ``(GRID, GRID, GRID)``, float32.
    """
    volume = image[0].to(torch.float32)
    inside = volume > volume.min()
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        filled = inside.amax(dim=others).nonzero().flatten() if inside.any() else torch.empty(0)
        if len(filled):
            start, stop = int(filled[0]), int(filled[-1]) + 1
            volume, inside = (
                volume.narrow(axis, start, stop - start),
                inside.narrow(axis, start, stop - start),
            )
    means = adaptive_avg_pool3d(volume[None, None], GRID).flatten()
    _, ranks, counts = torch.unique(means, return_inverse=True, return_counts=True)
    # Cells of one value share the mean of their ranks, as in Spearman's correlation.
    last = counts.cumsum(0)
    middle = (last - counts).float() + (counts - 1).float() / 2
    look: Tensor = middle[ranks] / (GRID**3 - 1)
    return look.reshape(GRID, GRID, GRID)


def find_alike(looks: Sequence[Tensor], *, threshold: float = NEAR_DUPLICATE) -> list[Likeness]:
    """Pairs of scans that look alike, most alike first.

    Each scan as a whole, at ``CELLS`` cubed, is correlated with the 729 windows of every other scan (each
    axis whole, or one of its parts of 90% or 80%) and with its 48 axis orders and directions; the best
    correlation counts. Quadratic in the number of scans: 80 take a second, 1,000 some minutes.

    Args:
        looks: from :func:`coarse_look`.
        threshold: similarity from which a pair is reported.
    """
    if len(looks) < 2:
        return []
    uncropped = torch.stack([_normalized(_views(look, ((0.0, 1.0),))[0]) for look in looks])
    similarity = torch.full((len(looks), len(looks)), -1.0)
    for row, look in enumerate(looks):
        views = torch.cat([_normalized(_views(look, WINDOWS)), _normalized(_orientations(look))])
        similarity[row] = (views @ uncropped.T).amax(dim=0)
    similarity = torch.maximum(similarity, similarity.T)
    first, second = torch.triu_indices(len(looks), len(looks), offset=1)
    is_alike = similarity[first, second] >= threshold
    pairs = zip(first[is_alike].tolist(), second[is_alike].tolist(), strict=True)
    alike = [Likeness(i, j, min(float(similarity[i, j]), 1.0)) for i, j in pairs]
    return sorted(alike, key=lambda pair: -pair.similarity)


def _views(look: Tensor, windows: Sequence[tuple[float, float]]) -> Tensor:
    """Means over ``CELLS`` cells in every combination of windows, ``(len(windows) ** 3, CELLS ** 3)``."""
    pooling = torch.cat([_pooling(*window) for window in windows])
    views = torch.einsum("ax,xyz->ayz", pooling, look)
    views = torch.einsum("by,ayz->abz", pooling, views)
    views = torch.einsum("cz,abz->abc", pooling, views)
    count = len(windows)
    by_window = views.reshape(count, CELLS, count, CELLS, count, CELLS).permute(0, 2, 4, 1, 3, 5)
    return by_window.reshape(count**3, CELLS**3)


def _pooling(start: float, stop: float) -> Tensor:
    """Matrix ``(CELLS, GRID)`` that averages the part of an axis over equal cells."""
    edges = torch.linspace(start * GRID, stop * GRID, CELLS + 1)
    cells = torch.arange(GRID)
    overlap = torch.minimum(edges[1:, None], cells + 1) - torch.maximum(edges[:-1, None], cells)
    weights = overlap.clamp_min(0.0)
    return weights / weights.sum(dim=1, keepdim=True)


def _orientations(look: Tensor) -> Tensor:
    uncropped = _views(look, ((0.0, 1.0),)).reshape(CELLS, CELLS, CELLS)
    oriented = [
        uncropped.permute(axes).flip([axis for axis in range(3) if flipped[axis]])
        for axes in itertools.permutations(range(3))
        for flipped in itertools.product((False, True), repeat=3)
    ]
    return torch.stack(oriented).flatten(1)


def _normalized(views: Tensor) -> Tensor:
    """Rows of mean 0 and length 1; a row of one value becomes 0 and is like nothing."""
    centred = views - views.mean(dim=-1, keepdim=True)
    length = centred.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-4, centred / length.clamp_min(1e-4), torch.zeros_like(centred))
