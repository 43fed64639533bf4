"""Back from the grid that a network sees to the voxels of the scan, a few rows at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

SLAB_VOXELS = 2**21
"""Voxels of the scan that are made at once."""

WHOLE_VOXEL = 1e-3
"""How far, in voxels, two grids may be apart and count as the same."""

Affine = NDArray[np.float64]


def voxel_map(network_affine: Affine, scan_affine: Affine) -> Affine:
    """From voxel indices of the scan to those of the network's grid, ``(4, 4)``."""
    mapping: Affine = np.linalg.inv(network_affine.astype(np.float64)) @ scan_affine.astype(np.float64)
    return mapping


def slabs_on_scan_grid(
    values: Tensor,
    *,
    network_affine: Affine,
    scan_affine: Affine,
    shape: Sequence[int],
    outside: Sequence[float],
) -> Iterator[tuple[slice, Tensor]]:
    """Resample ``(C, *S)`` on a network's grid to the voxels of the scan, slab by slab.

    Undoes any preprocessing that crops, pads, resamples, flips or turns, in one interpolation, from the
    affines alone. MONAI's ``Invertd`` does the same step after step on whole float32 volumes, and fills what
    a crop took away with zeros that interpolation then mixes in at the edge; here the nearest value inside
    counts up to half a voxel beyond the grid, and ``outside`` further off.

    Args:
        values: ``(C, *S)``; float16 or float32.
        network_affine: ``(4, 4)`` of that grid, voxel to RAS in mm.
        scan_affine: ``(4, 4)`` of the scan.
        shape: voxels of the scan.
        outside: value of each channel where the scan reaches beyond the grid.

    Yields:
        A slice of the scan's first axis, and float32 ``(C, n, Y, Z)`` for it.
    """
    mapping = voxel_map(network_affine, scan_affine)
    linear, shift = mapping[:3, :3], mapping[:3, 3]
    rounded = np.round(shift)
    same = np.abs(linear - np.eye(3)).max() * max(shape) < WHOLE_VOXEL
    aligned = same and np.abs(shift - rounded).max() < WHOLE_VOXEL
    rows = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
    fill = torch.tensor(list(outside), dtype=torch.float32)
    for first in range(0, shape[0], rows):
        slab = slice(first, min(first + rows, shape[0]))
        if aligned:
            yield slab, _shifted(values, slab, rounded.astype(int), shape, fill)
        else:
            yield slab, _interpolated(values, slab, linear, shift, shape, fill)


def _shifted(
    values: Tensor, slab: slice, shift: NDArray[np.int_], shape: Sequence[int], fill: Tensor
) -> Tensor:
    """The values themselves where the grids differ by whole voxels."""
    result = fill.view(-1, 1, 1, 1).repeat(1, slab.stop - slab.start, shape[1], shape[2])
    source, target = [], []
    for low, high, offset, extent in zip(
        (slab.start, 0, 0), (slab.stop, *shape[1:]), shift.tolist(), values.shape[1:], strict=True
    ):
        start, stop = max(low, -offset), min(high, extent - offset)
        if start >= stop:
            return result
        source.append(slice(start + offset, stop + offset))
        target.append(slice(start - low, stop - low))
    result[(slice(None), *target)] = values[(slice(None), *source)].float()
    return result


def _interpolated(
    values: Tensor,
    slab: slice,
    linear: NDArray[np.float64],
    shift: NDArray[np.float64],
    shape: Sequence[int],
    fill: Tensor,
) -> Tensor:
    """Trilinear interpolation at the scan's voxels."""
    axes = [torch.arange(slab.start, slab.stop), torch.arange(shape[1]), torch.arange(shape[2])]
    indices = [axis.to(torch.float64) for axis in axes]
    coordinates = []
    for row, offset in zip(linear, shift, strict=True):
        parts = [indices[axis] * float(row[axis]) for axis in range(3)]
        where = parts[0].view(-1, 1, 1) + parts[1].view(1, -1, 1) + parts[2].view(1, 1, -1) + float(offset)
        coordinates.append(where.float())
    extents = values.shape[1:]
    inside = torch.ones(coordinates[0].shape, dtype=torch.bool)
    for where, extent in zip(coordinates, extents, strict=True):
        inside &= (where >= -0.5 - WHOLE_VOXEL) & (where <= extent - 0.5 + WHOLE_VOXEL)
    if not inside.any():
        return fill.view(-1, 1, 1, 1).expand(-1, *inside.shape).clone()
    # Only the part of the grid that this slab touches is turned into float32.
    low = [
        int(where[inside].min().floor().clamp(0, n - 1))
        for where, n in zip(coordinates, extents, strict=True)
    ]
    high = [
        int(where[inside].max().ceil().clamp(0, n - 1)) for where, n in zip(coordinates, extents, strict=True)
    ]
    part = values[(slice(None), *(slice(a, b + 1) for a, b in zip(low, high, strict=True)))].float()
    normalised = [
        (where - a) * (2 / max(b - a, 1)) - 1 if b > a else torch.zeros_like(where)
        for where, a, b in zip(coordinates, low, high, strict=True)
    ]
    grid = torch.stack(normalised[::-1], -1)  # grid_sample takes the last axis first
    sampled = F.grid_sample(
        part.unsqueeze(0), grid.unsqueeze(0), mode="bilinear", padding_mode="border", align_corners=True
    )[0]
    return torch.where(inside, sampled, fill.view(-1, 1, 1, 1))


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
