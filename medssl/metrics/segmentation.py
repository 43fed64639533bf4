"""Overlap and surface metrics of one case, with a stated policy for empty masks.

Definitions are those of medpy, in which this literature reports; where MONAI's differ, a name says so. MONAI
gives mixtures of 0, NaN and infinity for empty masks, and medpy raises: a missed structure then drops out
of a mean silently. Here it counts as the worst value (:data:`EMPTY_POLICY`).
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.metrics.surface import SurfaceDistances, surface_distances

Array = NDArray[Any] | Tensor
Spacing = float | Sequence[float]
Empty = Literal["none", "prediction", "reference", "both"]

EMPTY_POLICY = (
    "Where prediction or reference has no voxel of a class, DSC, Jaccard and NSD are 0 and distances are the "
    "diagonal of the volume; where both have none, DSC, Jaccard and NSD are 1 and distances 0."
)


class MaskPair:
    """One class of one case, predicted and in the reference, and what is measured between the two masks.

    The distances between the surfaces are looked up when a metric first asks for them, once for all metrics.

    Args:
        pred: class ids of any shape; bool or integer, array or tensor.
        ref: class ids of the same shape; voxels of 255 were not labelled, and what is predicted in them is
            taken as background.
        spacing: mm per voxel, one number or one per axis.
        label: the class, below 255.

    Attributes:
        prediction: bool, of that shape.
        reference: likewise.
        spacing: mm per voxel along every axis.
        empty: which of the two masks has no voxel; see :data:`EMPTY_POLICY`.

    Raises:
        ValueError: shapes differ, the label is 255, or a spacing is out of range.
    """

    def __init__(self, pred: Array, ref: Array, spacing: Spacing = 1.0, *, label: int = 1) -> None:
        predicted, referred = (
            values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
            for values in (pred, ref)
        )
        if predicted.shape != referred.shape:
            raise ValueError(f"pred and ref must have one shape, got {predicted.shape} and {referred.shape}")
        if label == IGNORE:
            raise ValueError(f"label {IGNORE} marks what nobody labelled; give the class another id")
        dims = predicted.ndim
        self.spacing = np.asarray([spacing] * dims if np.isscalar(spacing) else spacing, np.float64)
        positive = (self.spacing > 0) & np.isfinite(self.spacing)
        if self.spacing.shape != (dims,) or not positive.all():
            raise ValueError(
                f"spacing must be positive, one number or one per each of {dims} axes, got {spacing}"
            )
        # What nobody labelled is neither right nor wrong: a prediction there does not count.
        self.prediction = (predicted == label) & (referred != IGNORE)
        self.reference = referred == label
        self.empty: Empty = "none"
        if not self.prediction.any():
            self.empty = "prediction" if self.reference.any() else "both"
        elif not self.reference.any():
            self.empty = "reference"

    @cached_property
    def voxels(self) -> tuple[int, int, int]:
        """Numbers of voxels: predicted, of the reference, and shared."""
        shared = self.prediction & self.reference
        return int(self.prediction.sum()), int(self.reference.sum()), int(shared.sum())

    @cached_property
    def surfaces(self) -> SurfaceDistances:
        """Distances between both surfaces; only where neither mask is empty."""
        return surface_distances(self.prediction, self.reference, self.spacing)

    def distance(self, measure: Callable[[SurfaceDistances], float]) -> float:
        """A distance in mm; 0 where both masks are empty, the diagonal of the volume where one is."""
        if self.empty == "none":
            return measure(self.surfaces)
        if self.empty == "both":
            return 0.0
        return float(np.linalg.norm(np.array(self.prediction.shape) * self.spacing))

    @property
    def dice(self) -> float:
        """``2 |P & R| / (|P| + |R|)`` in [0, 1]."""
        predicted, referred, shared = self.voxels
        return 2 * shared / (predicted + referred) if predicted + referred else 1.0

    @property
    def jaccard(self) -> float:
        """``|P & R| / |P | R|`` in [0, 1]."""
        predicted, referred, shared = self.voxels
        return shared / (predicted + referred - shared) if predicted + referred else 1.0

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces within the tolerance, in [0, 1].

        Raises:
            ValueError: a tolerance below 0.
        """
        if not tolerance_mm >= 0:
            raise ValueError(f"tolerance_mm must be at least 0, got {tolerance_mm}")
        if self.empty == "none":
            return self.surfaces.surface_dice(tolerance_mm)
        return 1.0 if self.empty == "both" else 0.0


def dice(pred: Array, ref: Array, label: int = 1) -> float:
    """Dice similarity coefficient ``2 |P & R| / (|P| + |R|)`` in [0, 1]; arguments of :class:`MaskPair`."""
    return MaskPair(pred, ref, label=label).dice


def jaccard(pred: Array, ref: Array, label: int = 1) -> float:
    """Jaccard index ``|P & R| / |P | R|`` in [0, 1]; arguments of :class:`MaskPair`."""
    return MaskPair(pred, ref, label=label).jaccard


def hausdorff95(pred: Array, ref: Array, spacing: Spacing, label: int = 1) -> float:
    """95th percentile of both directed surface distance sets together, in mm (medpy's ``hd95``)."""
    return MaskPair(pred, ref, spacing, label=label).distance(lambda surfaces: surfaces.hausdorff95)


def hausdorff95_directed_max(pred: Array, ref: Array, spacing: Spacing, label: int = 1) -> float:
    """The larger of the two directed 95th percentiles, in mm (MONAI's definition)."""
    pair = MaskPair(pred, ref, spacing, label=label)
    return pair.distance(lambda surfaces: surfaces.hausdorff95_directed_max)


def average_surface_distance(pred: Array, ref: Array, spacing: Spacing, label: int = 1) -> float:
    """Mean distance from the prediction's surface to the reference's, in mm (medpy's ``asd``).

    One-sided: this literature reports it as ASD. A prediction inside the reference that misses a part far
    away is not punished for it; :func:`average_symmetric_surface_distance` does that.
    """
    return MaskPair(pred, ref, spacing, label=label).distance(lambda surfaces: surfaces.asd)


def average_symmetric_surface_distance(pred: Array, ref: Array, spacing: Spacing, label: int = 1) -> float:
    """Mean of both directed surface distance sets together, in mm (medpy's ``assd``)."""
    return MaskPair(pred, ref, spacing, label=label).distance(lambda surfaces: surfaces.assd)


def surface_dice(pred: Array, ref: Array, spacing: Spacing, tolerance_mm: float, label: int = 1) -> float:
    """Normalised surface Dice (Nikolov et al. 2021): share of both surfaces within the tolerance, in [0, 1].

    Counts surface voxels, as MONAI's ``compute_surface_dice`` does by default; the original weighs them by
    their area.
    """
    return MaskPair(pred, ref, spacing, label=label).surface_dice(tolerance_mm)
