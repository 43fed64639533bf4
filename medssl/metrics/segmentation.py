"""Overlap and surface metrics of one case, with a stated policy for empty masks.

Definitions are those of medpy, in which this literature reports; where MONAI's differ, a name says so. MONAI
gives mixtures of 0, NaN and infinity for empty masks, and medpy raises: a missed structure then drops out
of a mean silently. Here it counts as the worst value (:data:`EMPTY_POLICY`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medssl.metrics.surface import Floats, Mask, SurfaceDistances, surface_distances
from medssl.metrics.uncertainty import IGNORE

Array = NDArray[Any] | Tensor
Spacing = float | Sequence[float]
Empty = Literal["none", "prediction", "reference", "both"]

EMPTY_POLICY = (
    "Where prediction or reference has no voxel of a class, DSC, Jaccard and NSD are 0 and distances are the "
    "diagonal of the volume; where both have none, DSC, Jaccard and NSD are 1 and distances 0."
)


@dataclass(frozen=True)
class SegmentationScores:
    """All segmentation metrics of one class in one case.

    Attributes:
        dice: in [0, 1].
        jaccard: in [0, 1].
        hausdorff95: pooled 95th percentile, mm.
        asd: mean surface distance from the prediction to the reference, mm.
        assd: mean of the distances of both directions together, mm.
        nsd: normalised surface Dice at the tolerance, in [0, 1].
        empty: which of the two masks has no voxel; see :data:`EMPTY_POLICY`.
    """

    dice: float
    jaccard: float
    hausdorff95: float
    asd: float
    assd: float
    nsd: float
    empty: Empty


def segmentation_scores(
    pred: Array, ref: Array, spacing: Spacing, *, label: int = 1, nsd_tolerance_mm: float = 1.0
) -> SegmentationScores:
    """All metrics of one class, the surface distances being measured once.

    Args:
        pred: class ids of any shape; bool or integer, array or tensor.
        ref: class ids of the same shape; voxels of 255 were not labelled, and what is predicted in them is
            taken as background.
        spacing: mm per voxel, one number or one per axis.
        label: the class, below 255.
        nsd_tolerance_mm: tolerance of the surface Dice.

    Raises:
        ValueError: shapes differ, the label is 255, or a spacing or tolerance is out of range.
    """
    prediction, reference = _masks(pred, ref, label)
    dice_value, jaccard_value = _overlap(prediction, reference)
    empty = _empty(prediction, reference)
    if not nsd_tolerance_mm >= 0:
        raise ValueError(f"nsd_tolerance_mm must be at least 0, got {nsd_tolerance_mm}")
    if empty != "none":
        distance = _worst_distance(prediction, spacing, empty)
        share = 1.0 if empty == "both" else 0.0
        return SegmentationScores(dice_value, jaccard_value, distance, distance, distance, share, empty)
    found = surface_distances(prediction, reference, _spacing(spacing, prediction.ndim))
    return SegmentationScores(
        dice_value,
        jaccard_value,
        found.hausdorff95,
        found.asd,
        found.assd,
        found.surface_dice(nsd_tolerance_mm),
        empty,
    )


def dice(pred: Array, ref: Array, label: int = 1) -> float:
    """Dice similarity coefficient ``2 |P & R| / (|P| + |R|)`` in [0, 1]; arguments as above."""
    return _overlap(*_masks(pred, ref, label))[0]


def jaccard(pred: Array, ref: Array, label: int = 1) -> float:
    """Jaccard index ``|P & R| / |P | R|`` in [0, 1]; arguments as above."""
    return _overlap(*_masks(pred, ref, label))[1]


def hausdorff95(pred: Array, ref: Array, spacing: Spacing, label: int = 1) -> float:
    """95th percentile of both directed surface distance sets together, in mm (medpy's ``hd95``)."""
    found = _distances(pred, ref, spacing, label)
    return found if isinstance(found, float) else found.hausdorff95


def hausdorff95_directed_max(pred: Array, ref: Array, spacing: Spacing, label: int = 1) -> float:
    """The larger of the two directed 95th percentiles, in mm (MONAI's definition)."""
    found = _distances(pred, ref, spacing, label)
    return found if isinstance(found, float) else found.hausdorff95_directed_max


def average_surface_distance(pred: Array, ref: Array, spacing: Spacing, label: int = 1) -> float:
    """Mean distance from the prediction's surface to the reference's, in mm (medpy's ``asd``).

    One-sided: this literature reports it as ASD. A prediction inside the reference that misses a part far
    away is not punished for it; :func:`average_symmetric_surface_distance` does that.
    """
    found = _distances(pred, ref, spacing, label)
    return found if isinstance(found, float) else found.asd


def average_symmetric_surface_distance(pred: Array, ref: Array, spacing: Spacing, label: int = 1) -> float:
    """Mean of both directed surface distance sets together, in mm (medpy's ``assd``)."""
    found = _distances(pred, ref, spacing, label)
    return found if isinstance(found, float) else found.assd


def surface_dice(pred: Array, ref: Array, spacing: Spacing, tolerance_mm: float, label: int = 1) -> float:
    """Normalised surface Dice (Nikolov et al. 2021): share of both surfaces within the tolerance, in [0, 1].

    Counts surface voxels, as MONAI's ``compute_surface_dice`` does by default; the original weighs them by
    their area.
    """
    return segmentation_scores(pred, ref, spacing, label=label, nsd_tolerance_mm=tolerance_mm).nsd


def _masks(pred: Array, ref: Array, label: int) -> tuple[Mask, Mask]:
    arrays = [v.detach().cpu().numpy() if isinstance(v, Tensor) else np.asarray(v) for v in (pred, ref)]
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"pred and ref must have one shape, got {arrays[0].shape} and {arrays[1].shape}")
    if label == IGNORE:
        raise ValueError(f"label {IGNORE} marks what nobody labelled; give the class another id")
    # What nobody labelled is neither right nor wrong: a prediction there does not count.
    return (arrays[0] == label) & (arrays[1] != IGNORE), arrays[1] == label


def _overlap(prediction: Mask, reference: Mask) -> tuple[float, float]:
    total = int(prediction.sum()) + int(reference.sum())
    if total == 0:
        return 1.0, 1.0
    shared = int((prediction & reference).sum())
    return 2 * shared / total, shared / (total - shared)


def _empty(prediction: Mask, reference: Mask) -> Empty:
    if prediction.any():
        return "none" if reference.any() else "reference"
    return "prediction" if reference.any() else "both"


def _spacing(spacing: Spacing, dims: int) -> Floats:
    values = np.asarray([spacing] * dims if np.isscalar(spacing) else spacing, dtype=np.float64)
    if values.shape != (dims,) or not (values > 0).all() or not np.isfinite(values).all():
        raise ValueError(
            f"spacing must be positive, one number or one per each of {dims} axes, got {spacing}"
        )
    return values


def _worst_distance(mask: Mask, spacing: Spacing, empty: Empty) -> float:
    diagonal = float(np.linalg.norm(np.array(mask.shape) * _spacing(spacing, mask.ndim)))
    return 0.0 if empty == "both" else diagonal


def _distances(pred: Array, ref: Array, spacing: Spacing, label: int) -> SurfaceDistances | float:
    """The distances, or the value that stands for them where a mask is empty."""
    prediction, reference = _masks(pred, ref, label)
    empty = _empty(prediction, reference)
    if empty != "none":
        return _worst_distance(prediction, spacing, empty)
    return surface_distances(prediction, reference, _spacing(spacing, prediction.ndim))
