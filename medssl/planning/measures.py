"""What a plan needs to know of one case, measured while ``medssl check`` has it open."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from medssl.common.constants import IGNORE
from medssl.data.reading.formats import format_of
from medssl.data.reading.orientation import Orientd

SAMPLE = 10_000
"""Foreground voxels of a case, evenly taken, whose intensities are kept (as nnU-Net does)."""

CELLS = 48
"""Cells along an axis, at most, in which it is noted which classes they show."""


@dataclass(frozen=True)
class ClassMeasures:
    """One foreground class in one labelled case.

    Attributes:
        share: of the voxels of the scan.
        centroid: mm from the first voxel, along each axis.
        extent: mm between its outermost voxels along each axis, their own sides included.
    """

    share: float
    centroid: tuple[float, ...]
    extent: tuple[float, ...]


@dataclass(frozen=True)
class CaseMeasures:
    """One scan, with axes in the order left to right, back to front, foot to head where the file tells.

    Attributes:
        size: voxels along each axis.
        spacing: mm along each axis.
        oriented: whether the file says how its axes lie in the patient.
        channels: number of channels.
        minimum: smallest intensity.
        zero_share: of voxels that are 0 in all channels.
        box: first and last voxel (exclusive) along each axis of what lies above the minimum.
        classes: by class id; empty where there is no label.
        foreground: ``(channels, n)`` intensities of an even sample of foreground voxels.
        cells: bool ``(classes, *cells)``, which foreground class each cell of the scan shows; None
            without a label.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    oriented: bool
    channels: int
    minimum: float
    zero_share: float
    box: tuple[tuple[int, int], ...]
    classes: Mapping[int, ClassMeasures] = field(default_factory=dict)
    foreground: NDArray[np.float32] | None = None
    cells: NDArray[np.bool_] | None = None

    @property
    def cropped_size(self) -> tuple[int, ...]:
        """Voxels along each axis of the box."""
        return tuple(stop - start for start, stop in self.box)

    @property
    def is_labeled(self) -> bool:
        """Whether a label was measured."""
        return self.cells is not None


def measure_case(image: MetaTensor, ids: MetaTensor | None) -> CaseMeasures:
    """Measure one case.

    Args:
        image: scan ``(C, X, Y, Z)`` as stored, finite.
        ids: class ids ``(1, X, Y, Z)`` on the same grid, 255 where nobody labelled; None without a label.
    """
    oriented = image.ndim == 4 and _says_orientation(image)
    if oriented:
        turned = Orientd(("image", "label"), orientation="RAS")(
            {"image": image} if ids is None else {"image": image, "label": ids}
        )
        image, ids = turned["image"], turned.get("label")
    values = image.as_tensor().numpy()
    labels = None if ids is None else ids.as_tensor().numpy()[0]
    spacing = tuple(round(float(side), 6) for side in image.affine[:3, :3].norm(dim=0))
    minimum = float(values.min())
    classes = {} if labels is None else _classes(labels, spacing)
    return CaseMeasures(
        size=values.shape[1:],
        spacing=spacing[: values.ndim - 1],
        oriented=oriented,
        channels=len(values),
        minimum=minimum,
        zero_share=float((values == 0).all(axis=0).mean()),
        box=_box((values > minimum).any(axis=0)),
        classes=classes,
        foreground=None if labels is None else _foreground(values, labels),
        cells=None if labels is None else _cells(labels, sorted(classes)),
    )


def _says_orientation(image: MetaTensor) -> bool:
    """Whether the file says how its axes lie in the patient: HDF5 does not, nor a NIfTI without a form."""
    file_format = format_of(Path(str(image.meta["filename_or_obj"])))
    if file_format is not None and file_format.holds_label:  # the field's HDF5
        return False
    codes = [image.meta.get(key) for key in ("sform_code", "qform_code")]
    return not all(code is not None and int(code) == 0 for code in codes)


def _box(inside: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    bounds = []
    for axis in range(inside.ndim):
        others = tuple(other for other in range(inside.ndim) if other != axis)
        places = np.flatnonzero(inside.any(axis=others))
        bounds.append((int(places[0]), int(places[-1]) + 1))
    return tuple(bounds)


def _classes(labels: NDArray[np.integer], spacing: tuple[float, ...]) -> dict[int, ClassMeasures]:
    classes = {}
    for number in np.unique(labels).tolist():
        if number in (0, IGNORE):
            continue
        inside = labels == number
        extent, centroid = [], []
        for axis, side in enumerate(spacing[: labels.ndim]):
            others = tuple(other for other in range(labels.ndim) if other != axis)
            profile = inside.sum(axis=others)
            places = np.flatnonzero(profile)
            extent.append(float((places[-1] + 1 - places[0]) * side))
            centroid.append(float((profile * np.arange(len(profile))).sum() / profile.sum() * side))
        classes[number] = ClassMeasures(float(inside.mean()), tuple(centroid), tuple(extent))
    return classes


def _foreground(values: NDArray[np.float32], labels: NDArray[np.integer]) -> NDArray[np.float32]:
    places = np.flatnonzero((labels > 0) & (labels != IGNORE))
    places = places[:: max(len(places) // SAMPLE, 1)]
    return values.reshape(len(values), -1)[:, places]


def _cells(labels: NDArray[np.integer], numbers: list[int]) -> NDArray[np.bool_]:
    """Of each class the cells that show it: a map of the scan with at most :data:`CELLS` along an axis."""
    counts = [min(size, CELLS) for size in labels.shape]
    cells = np.zeros((len(numbers), *counts), bool)
    for row, number in enumerate(numbers):
        places = np.nonzero(labels == number)
        scaled = (
            place * count // size for place, count, size in zip(places, counts, labels.shape, strict=True)
        )
        cells[(row, *scaled)] = True
    return cells
