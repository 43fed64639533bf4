"""Distances between the surfaces of two masks, in mm.

A surface voxel is one that a binary erosion by its face neighbours removes, the image border eroding too, as
in medpy. Distances are looked up in k-d trees of the surface voxels: surfaces are a small part of a volume,
whose full distance transforms (medpy, MONAI) take several times longer for identical values.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm from every surface voxel of one mask to the nearest one of the other.

    Attributes:
        prediction: from the surface of the prediction to that of the reference, ``(N,)``.
        reference: from the surface of the reference to that of the prediction, ``(M,)``.
    """

    prediction: Floats
    reference: Floats

    @property
    def hausdorff95(self) -> float:
        """95th percentile of both sets together (medpy's ``hd95``)."""
        return float(np.percentile(np.concatenate([self.prediction, self.reference]), 95))

    @property
    def hausdorff95_directed_max(self) -> float:
        """The larger of the two sets' 95th percentiles (MONAI's ``HausdorffDistanceMetric``)."""
        return float(max(np.percentile(self.prediction, 95), np.percentile(self.reference, 95)))

    @property
    def asd(self) -> float:
        """Mean from the prediction to the reference (medpy's ``asd``)."""
        return float(self.prediction.mean())

    @property
    def assd(self) -> float:
        """Mean of both sets together (medpy's ``assd``)."""
        return float(np.concatenate([self.prediction, self.reference]).mean())

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of all surface voxels that lie within the tolerance of the other surface, in [0, 1]."""
        within = (self.prediction <= tolerance_mm).sum() + (self.reference <= tolerance_mm).sum()
        return float(within / (len(self.prediction) + len(self.reference)))


def surface_voxels(mask: Mask) -> NDArray[np.intp]:
    """Indices ``(N, dims)`` of the voxels of a mask that have a face neighbour outside it."""
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return np.empty((0, mask.ndim), np.intp)
    # Outside the bounding box there is nothing; so an erosion inside it, with a border that erodes, is that
    # of the whole volume.
    part = mask[box[0]]
    border = part & ~ndimage.binary_erosion(part, ndimage.generate_binary_structure(mask.ndim, 1))
    return np.asarray(np.argwhere(border) + np.array([axis.start for axis in box[0]]), np.intp)


def surface_distances(prediction: Mask, reference: Mask, spacing: Floats) -> SurfaceDistances:
    """Both directed sets of distances between the surfaces of two masks, neither of them empty.

    Args:
        prediction: bool, of any dimension.
        reference: bool, of the same shape.
        spacing: mm per voxel along every axis.
    """
    points = [surface_voxels(mask) * spacing for mask in (prediction, reference)]
    trees = [cKDTree(p) for p in points]
    return SurfaceDistances(trees[1].query(points[0])[0], trees[0].query(points[1])[0])
