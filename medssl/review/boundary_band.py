"""The band around a predicted boundary, in mm, and what of a true structure lies outside of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medssl.reliability.risk_control import FallingLoss

OUTSIDE, BAND, RIM, CORE = range(4)
"""Values of a band's map: outside; beyond the prediction but within the band; predicted and within the band;
predicted and deeper than the band."""

Mask = NDArray[np.bool_]
Box = tuple[slice, ...]


def missed_share(predicted: Mask, reference: Mask, spacing: Sequence[float]) -> FallingLoss:
    """Share of the true structure that lies further from the prediction than a width.

    Args:
        predicted: one class, not empty.
        reference: the same class, of the same shape; where it is empty nothing is missed.
        spacing: voxel size in mm; axes are perpendicular. Distances are between centres of voxels.
    """
    box = _box(predicted | reference)
    predicted, reference = predicted[box], reference[box]
    distances = ndimage.distance_transform_edt(~predicted, sampling=spacing)
    return FallingLoss.of_distances(distances[reference & ~predicted], int(reference.sum()))


def wrong_core_share(predicted: Mask, reference: Mask, spacing: Sequence[float]) -> FallingLoss:
    """Share of the prediction that is not the true structure and lies deeper inside than a width.

    Of the whole prediction, and not of what lies so deep, since that share might rise with the width.

    Args:
        predicted: one class, not empty.
        reference: the same class, of the same shape.
        spacing: see :func:`missed_share`.
    """
    box = _box(predicted)
    inside, truth = predicted[box], reference[box]
    return FallingLoss.of_distances(_depths(inside, spacing)[inside & ~truth], int(inside.sum()))


def band_map(
    predicted: Mask, spacing: Sequence[float], *, outer_mm: float, inner_mm: float
) -> NDArray[np.uint8]:
    """The zones of a band: :data:`OUTSIDE`, :data:`BAND`, :data:`RIM`, :data:`CORE`.

    Args:
        predicted: one class, not empty.
        spacing: see :func:`missed_share`.
        outer_mm: how far the band reaches beyond the prediction.
        inner_mm: how far it reaches into the prediction.
    """
    zones = np.full(predicted.shape, OUTSIDE, np.uint8)
    margins = [int(outer_mm / size) + 1 for size in spacing]
    box = _box(predicted, margins)
    inside = predicted[box]
    part = zones[box]
    part[ndimage.distance_transform_edt(~inside, sampling=spacing) <= outer_mm] = BAND
    part[inside] = np.where(_depths(inside, spacing)[inside] > inner_mm, CORE, RIM)
    return zones


def _depths(inside: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Distance of every voxel inside to the next one outside; beyond the scan's border all is outside."""
    padded = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)
    depths: NDArray[np.float64] = padded[tuple(slice(1, -1) for _ in inside.shape)]
    return depths


def _box(mask: Mask, margins: Sequence[int] | None = None) -> Box:
    """Bounding box, wider by the margins: distances within it are those within the scan."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, margin, size in zip(box, margins or [0] * mask.ndim, mask.shape, strict=True)
    )
