"""Back from the grid that a network sees to the voxels, or pixels, of the file, a few rows at a time."""

import math
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
    counts up to half a voxel beyond the grid, and ``outside`` further off. In two dimensions, where affines
    say what MONAI's ``Resized`` did, this is bilinear interpolation with ``align_corners=False``.

    Args:
        values: ``(C, *S)`` of three axes, or two; float16 or float32.
        network_affine: ``(4, 4)`` of that grid, voxel to RAS in mm.
        scan_affine: ``(4, 4)`` of the scan.
        shape: voxels of the scan.
        outside: value of each channel where the scan reaches beyond the grid.

    Yields:
        A slice of the scan's first axis, and float32 ``(C, n, Y, Z)`` or ``(C, n, W)`` for it.
    """
    mapping, axes = voxel_map(network_affine, scan_affine), values.ndim - 1
    linear, shift = mapping[:axes, :axes], mapping[:axes, 3]
    rounded = np.round(shift)
    same = np.abs(linear - np.eye(axes)).max() * max(shape) < WHOLE_VOXEL
    aligned = same and np.abs(shift - rounded).max() < WHOLE_VOXEL
    rows = max(1, SLAB_VOXELS // math.prod(shape[1:]))
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
    result = _column(fill, len(shape)).repeat(1, slab.stop - slab.start, *shape[1:])
    source, target = [], []
    lows = (slab.start, *(0 for _ in shape[1:]))
    for low, high, offset, extent in zip(
        lows, (slab.stop, *shape[1:]), shift.tolist(), values.shape[1:], strict=True
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
    """Trilinear interpolation at the scan's voxels; bilinear at the pixels of an image."""
    count = len(shape)
    indices = [torch.arange(slab.start, slab.stop), *(torch.arange(side) for side in shape[1:])]
    coordinates = []
    for row, offset in zip(linear, shift, strict=True):
        where = torch.zeros([1] * count, dtype=torch.float64)
        for axis, index in enumerate(indices):
            part = index.to(torch.float64) * float(row[axis])
            where = where + part.view([-1 if other == axis else 1 for other in range(count)])
        coordinates.append((where + float(offset)).float())
    extents = values.shape[1:]
    inside = torch.ones(coordinates[0].shape, dtype=torch.bool)
    for where, extent in zip(coordinates, extents, strict=True):
        inside &= (where >= -0.5 - WHOLE_VOXEL) & (where <= extent - 0.5 + WHOLE_VOXEL)
    if not inside.any():
        return _column(fill, count).expand(-1, *inside.shape).clone()
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
    return torch.where(inside, sampled, _column(fill, count))


def _column(fill: Tensor, axes: int) -> Tensor:
    """One value a channel, to be spread over so many axes."""
    return fill.view(-1, *(1,) * axes)


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
