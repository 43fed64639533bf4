"""One orientation for every scan, whatever the order in which its file stores the voxels."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from medssl.common.errors import InputError
from medssl.data.reading.loading import IMAGE_KEY, SCAN_SHAPE, LoadCased
from medssl.data.reading.transforms import CropToBoxd

PLACE = "stored_place"
"""Key of a volume's metadata: of each oriented axis its stored axis, whether that one runs the other way, and
the first and last voxel (exclusive) along it in the stored array."""

Affine = NDArray[np.float64]

_ENDS = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}
_SPACING_DIGITS = 6
_WHOLE_VOXEL = 1e-3


@dataclass(frozen=True)
class StorageOrder:
    """How a file stores an oriented volume.

    Attributes:
        axes: for each oriented axis the stored one.
        flips: for each oriented axis whether the stored one runs the other way.
    """

    axes: tuple[int, ...] = (0, 1, 2)
    flips: tuple[bool, ...] = (False, False, False)

    def oriented(self, stored: NDArray[Any]) -> NDArray[Any]:
        """A view in oriented order of an array whose last axes are in stored order."""
        lead = stored.ndim - len(self.axes)
        turned = stored.transpose(*range(lead), *(lead + axis for axis in self.axes))
        backwards = tuple(lead + axis for axis, flip in enumerate(self.flips) if flip)
        return np.flip(turned, backwards)


@dataclass(frozen=True)
class ScanGrid:
    """The voxels of a scan's file, in the order of the volume that a network sees.

    Attributes:
        order: how the file stores them.
        stored_shape: of the file, three sides, or two of an image.
        affine: ``(4, 4)`` from these voxels to the millimetres of the network's affine.
    """

    order: StorageOrder
    stored_shape: tuple[int, ...]
    affine: Affine

    @property
    def shape(self) -> tuple[int, ...]:
        """The sides in oriented order."""
        return tuple(self.stored_shape[axis] for axis in self.order.axes)


def parse_orientation(orientation: str | None) -> str | None:
    """Three letters in capitals; None for no orientation, which a command line may write as ``null``.

    Raises:
        InputError: not one letter of each of L and R, P and A, I and S.
    """
    if orientation is None or orientation.lower() in ("none", "null"):
        return None
    return _letters(orientation)


def _letters(orientation: str) -> str:
    letters = orientation.upper()
    if len(letters) != 3 or sorted(_ENDS[k][0] for k in letters if k in _ENDS) != [0, 1, 2]:
        raise InputError(
            f"orientation {orientation!r}",
            "is not one letter each of L or R, P or A, I or S",
            "give RAS, say, or null to keep every scan's own",
        )
    return letters


def storage_order(affine: Affine, orientation: str) -> StorageOrder:
    """The order in which a volume of this affine is stored, seen from ``orientation``.

    Each anatomical axis belongs to one stored axis such that the cosines of the three angles sum to the most,
    whatever the order of the axes. nibabel's ``io_orientation``, and with it MONAI's ``Orientation``, serves
    the stored axes one after the other; before nibabel 5.4, which medssl allows, in the order in which they
    are stored, so that storage order decides where two of a doubly oblique scan compete. Where two
    assignments are equally good (turned by 45 degrees), rounding decides.

    Args:
        affine: ``(4, 4)`` voxel to RAS in mm.
        orientation: three letters, the direction in which each axis grows, such as ``RAS``.

    Raises:
        InputError: ``orientation`` is none.
    """
    linear = np.asarray(affine, np.float64)[:3, :3]
    cosines = linear / np.linalg.norm(linear, axis=0)
    _, stored_of = linear_sum_assignment(-np.abs(cosines))
    axes, flips = [], []
    for letter in _letters(orientation):
        anatomical, sign = _ENDS[letter]
        axes.append(int(stored_of[anatomical]))
        flips.append(bool(cosines[anatomical, axes[-1]] * sign < 0))
    return StorageOrder(tuple(axes), tuple(flips))


class Orientd(MapTransform):  # type: ignore[misc]
    """Turn and flip volumes to one orientation, so that storage order cannot change a result.

    Of the scan only what its network may see is left: voxels in the order of ``orientation`` and their
    spacing. Their affine becomes the diagonal of the spacing (to six digits) with its origin at the first
    voxel; origin and obliqueness, whose rounding differs between two files of one scan, would come back as
    other last bits of a resampled volume. The way back stands in the metadata (:func:`scan_grid`).

    Labels are turned as their image is, from which their affines may differ by rounding.

    Args:
        keys: keys of ``(C, X, Y, Z)`` volumes of one grid, as loaded or cut out by
            :class:`medssl.data.CropToBoxd`.
        orientation: such as ``RAS``.
        allow_missing_keys: pass items that lack a key.

    Raises:
        InputError: no orientation.
    """

    def __init__(self, keys: KeysCollection, *, orientation: str, allow_missing_keys: bool = True) -> None:
        super().__init__(keys, allow_missing_keys)
        self.orientation = _letters(orientation)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Orient.

        Raises:
            InputError: a 2D image, which has no orientation.
            ValueError: a volume was resampled before, or they are not on one grid.
        """
        item = dict(data)
        present = list(self.key_iterator(item))
        if not present:
            return item
        guide: MetaTensor = item[IMAGE_KEY if IMAGE_KEY in present else present[0]]
        if guide.ndim != 4:
            where = str(guide.meta["filename_or_obj"])
            raise InputError(where, "is a 2D image, which has no orientation", "set orientation to null")
        order, place = _place_of(guide, self.orientation)
        spacing = _spacing(guide.meta["original_affine"], order)
        for key in present:
            volume = item[key]
            if volume.shape[1:] != guide.shape[1:]:
                raise ValueError(f"{key!r} of shape {tuple(volume.shape)} is not on the grid of its image")
            # Sums over the volume round by the order in memory: a view would not do.
            array = np.ascontiguousarray(order.oriented(volume.as_tensor().numpy()))
            oriented = MetaTensor(torch.from_numpy(array)).copy_meta_from(volume)
            oriented.affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
            oriented.meta[PLACE] = place
            item[key] = oriented
        return item


def _place_of(volume: MetaTensor, orientation: str) -> tuple[StorageOrder, NDArray[np.int64]]:
    """How the volume is stored, and what its metadata says of it under :data:`PLACE`."""
    affine, stored = (
        np.asarray(matrix, np.float64) for matrix in (volume.affine, volume.meta["original_affine"])
    )
    to_stored = np.linalg.inv(stored) @ affine
    start = np.round(to_stored[:3, 3])
    is_aligned = np.abs(to_stored[:3, :3] - np.eye(3)).max() * max(volume.shape[1:]) < _WHOLE_VOXEL
    if not is_aligned or np.abs(to_stored[:3, 3] - start).max() > _WHOLE_VOXEL:
        raise ValueError("Orientd must stand before all that resamples")
    order = storage_order(stored, orientation)
    rows = [
        (axis, flip, int(start[axis]), int(start[axis]) + volume.shape[1 + axis])
        for axis, flip in zip(order.axes, order.flips, strict=True)
    ]
    return order, np.asarray(rows, np.int64)


def scan_grid(image: MetaTensor) -> ScanGrid:
    """The grid of the file that a preprocessed image was loaded from.

    Args:
        image: loaded by :class:`medssl.data.LoadCased`; oriented by :class:`Orientd` or not at all, as
            images of two axes are.
    """
    shape = tuple(int(n) for n in image.meta[SCAN_SHAPE])
    place = image.meta.get(PLACE)
    if place is None:
        order = StorageOrder(tuple(range(len(shape))), (False,) * len(shape))
        return ScanGrid(order, shape, np.asarray(image.meta["original_affine"], np.float64))
    rows = np.asarray(place).tolist()
    order = StorageOrder(tuple(row[0] for row in rows), tuple(bool(row[1]) for row in rows))
    # Voxels that a crop took away in front of the first oriented one, whose centre is the origin.
    cropped = [shape[axis] - stop if flip else start for axis, flip, start, stop in rows]
    spacing = _spacing(image.meta["original_affine"], order)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-count * step for count, step in zip(cropped, spacing, strict=True)]
    return ScanGrid(order, shape, affine)


def _spacing(affine: Affine, order: StorageOrder) -> list[float]:
    """Spacing of the oriented axes in mm, without the digits in which two files of one scan may differ."""
    norms = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)
    return [float(f"{norms[axis]:.{_SPACING_DIGITS}g}") for axis in order.axes]


def preprocessing(transforms: Sequence[Any], orientation: str | None = "RAS") -> Compose:
    """The preprocessing of a config: its transforms, oriented before anything looks at the volume.

    Only loading and the crop to a box in voxels of the file come before the orientation.

    Args:
        transforms: of ``image`` and ``label``; None among them (``_disabled_``) is left out.
        orientation: such as ``RAS``, in which patch sizes and spacings count; None keeps the stored order.

    Raises:
        InputError: no such orientation.
    """
    steps = [transform for transform in transforms if transform]
    letters = parse_orientation(orientation)
    if letters is not None:
        stored = [isinstance(step, LoadCased | CropToBoxd) for step in steps]
        place = stored.index(False) if False in stored else len(steps)
        steps.insert(place, Orientd((IMAGE_KEY, "label"), orientation=letters))
    return Compose(steps)
