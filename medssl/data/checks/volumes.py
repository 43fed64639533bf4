"""Faults of a volume that has been read: its grid, its intensities, its class ids."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.data.checks.findings import Finding

AFFINE_TOLERANCE = 0.05
"""How far, in voxels, a corner of the label may lie from the same corner of the image: writers round
orientations to 32 bits, which moves corners by thousandths of a voxel."""

INTEGER_TOLERANCE = 1e-3
"""How far a stored class id may be from a whole number: a scaled NIfTI stores 2 as 1.99999."""

PLAUSIBLE_MM = (0.01, 20.0)
"""Spacings outside this range are more likely in micrometres or metres."""

SHEAR_TOLERANCE = 0.01
"""Cosine between two axes from which an affine counts as sheared: half a degree."""

SIZE_UNITS = {2: "pixels", 3: "ml"}
"""In what the size of a class is measured, by the axes of the label."""

NO_VOLUME = {
    2: ("an image", "an image has two axes of at least two pixels"),
    3: ("a volume", "a volume has three axes"),
}
"""What is expected of a file by its number of axes, and the remedy where it is something else."""


def volume_faults(volume: MetaTensor, *, axes: int = 3) -> Iterator[Finding]:
    """Faults of the array and the affine of any volume ``(C, X, Y, Z)``, or of a 2D image ``(C, H, W)``."""
    where = str(volume.meta["filename_or_obj"])
    if volume.ndim != 1 + axes or min(volume.shape[1:]) < 2:
        kind, remedy = NO_VOLUME[axes]
        yield Finding("not-a-volume", where, f"is not {kind} (its shape is {times(volume)})", remedy)
    yield from affine_faults(where, volume.affine.numpy())


def affine_faults(where: str, affine: NDArray[np.floating]) -> Iterator[Finding]:
    """An affine that is not finite or maps the volume onto less than three dimensions."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3].astype(np.float64))) < 1e-12:
        yield Finding(
            "affine", where, "has an affine or spacing that cannot be inverted", "repair its header"
        )


def image_faults(
    image: MetaTensor, *, channels: int | None = None, max_intensity: float | None = None
) -> Iterator[Finding]:
    """Faults of intensities, and of the number of channels where one is expected.

    Args:
        image: as it is stored.
        channels: how many it should have; None for any number.
        max_intensity: stored value of white, which no value exceeds; None where there is none.
    """
    where, values = str(image.meta["filename_or_obj"]), image.as_tensor()
    if channels is not None and len(values) != channels:
        yield channel_fault(where, len(values), channels, axes=values.ndim - 1)
    # The sum is finite where all are; only a large scan overflows it, and is then looked at again.
    if not torch.isfinite(values.sum()) and not torch.isfinite(values).all():
        nan, infinite = int(values.isnan().sum()), int(values.isinf().sum())
        counts = " and ".join(f"{n} {name}" for n, name in ((nan, "NaN"), (infinite, "infinite")) if n)
        yield Finding(
            "not-finite",
            where,
            f"holds {counts} of {values.numel()} voxels",
            "replace them by the background value and save it again",
        )
    elif values.numel():
        low, high = values.aminmax()
        if low == high:
            yield Finding(
                "constant",
                where,
                f"holds {float(low):g} in every voxel",
                "export the scan again, or leave it out",
            )
        elif max_intensity is not None and high > max_intensity:
            yield Finding(
                "too-bright",
                where,
                f"holds values up to {float(high):g}, and white is {max_intensity:g}",
                f"save it with values up to {max_intensity:g}, or train with another max_intensity "
                "(65535 for 16 bits)",
            )


def channel_fault(where: str, channels: int, expected: int, *, axes: int) -> Finding:
    """An image with other channels than the rest: a film among single volumes, grey among colours."""
    remedy = "separate the frames, or keep the same channels in every image"
    if axes == 2:
        kind = {1: "grey", 3: "RGB"}.get(expected)
        remedy = f"save it as {kind}" if kind else "keep the same channels in every image"
        remedy += f", or train with in_channels {channels} if all images are so"
    return Finding(
        "channels",
        where,
        f"has {channels} channel{'s' * (channels > 1)}, expected {expected}",
        remedy,
    )


def label_faults(label: MetaTensor) -> Iterator[Finding]:
    """Faults of a label map as stored, before its values are rounded to class ids."""
    where, values = str(label.meta["filename_or_obj"]), label.as_tensor()
    if len(values) != 1:
        remedy = "save one map of class ids"
        if values.ndim == 3:  # a picture of a mask
            remedy = (
                "its channels are equal: save one of them"
                if len(values) == 3 and (values[0] == values[1:]).all()
                else "save class ids in one channel: a number for each colour"
            )
        yield Finding("label-channels", where, f"is a label with {len(values)} channels", remedy)
    # NaN compares false with everything, so it fails here as well.
    if not ((values - values.round()).abs() <= INTEGER_TOLERANCE).all():
        yield Finding(
            "label-values",
            where,
            "is a label with values that are not whole numbers",
            "save class ids; resample labels with nearest neighbour",
        )


def class_faults(label: MetaTensor, *, num_classes: int | None, mapped: bool = False) -> Iterator[Finding]:
    """Class ids below zero or beyond the classes, and a label in which nothing is labelled.

    Args:
        label: map of class ids; 255 marks voxels that nobody labelled.
        num_classes: number of classes, None where it is not known.
        mapped: whether ids were mapped before, for the words.
    """
    where, ids = str(label.meta["filename_or_obj"]), label.as_tensor()
    low, high = (int(value) for value in ids.aminmax())
    if low < 0:
        unnamed = ", which label_map does not name" if mapped else ""
        yield Finding(
            "label-negative",
            where,
            f"is a label with the negative id {low}{unnamed}",
            f'number classes from 0, or mark it as not labelled: "label_map": {{"{low}": {IGNORE}}}',
        )
    if _ignores(num_classes) and low == high == IGNORE:
        yield Finding(
            "label-all-255",
            where,
            "is a label of 255 throughout, which counts as not labelled",
            "label it, or move the case to 'unlabeled'",
        )
    if num_classes is None or high < num_classes:
        return
    beyond = [k for k in torch.unique(ids).tolist() if k >= num_classes and k != IGNORE]
    if beyond:
        numbers = ", ".join(map(str, beyond[:5])) + (", ..." if len(beyond) > 5 else "")
        yield Finding(
            "label-range",
            where,
            f"is a label with the id{'s' * (len(beyond) > 1)} {numbers}; the {num_classes} classes are "
            f"0 to {num_classes - 1}",
            f"ask for {beyond[-1] + 1} classes, or map it to the class that it stands for, such as "
            f'"label_map": {{"{beyond[0]}": {num_classes - 1}}}',
        )


def class_warnings(ids: MetaTensor, *, num_classes: int | None) -> Iterator[Finding]:
    """A label without foreground, or with voxels that nobody labelled, which is usual of images."""
    where, values = str(ids.meta["filename_or_obj"]), ids.as_tensor()
    if not (values > 0).any():
        yield Finding(
            "label-empty", where, "is a label with background only", "see that the structure is really absent"
        )
    if values.ndim == 4 and _ignores(num_classes) and (values == IGNORE).any():
        yield Finding(
            "label-255",
            where,
            "is a label with the id 255, which counts as not labelled",
            "map it to a class if it is meant for one",
        )


def _ignores(num_classes: int | None) -> bool:
    """Whether 255 marks voxels that nobody labelled: it is no class of its own."""
    return num_classes is None or num_classes <= IGNORE


def geometry_warnings(image: MetaTensor) -> Iterator[Finding]:
    """A spacing that nobody scans with, and axes that are not at right angles."""
    where = str(image.meta["filename_or_obj"])
    axes = image.affine[:3, :3].to(torch.float64)
    spacing = axes.norm(dim=0)
    if float(spacing.min()) < PLAUSIBLE_MM[0] or float(spacing.max()) > PLAUSIBLE_MM[1]:
        yield Finding(
            "spacing-implausible",
            where,
            f"has a spacing of {' x '.join(f'{value:.3g}' for value in spacing)} mm",
            "see that its header is in mm",
        )
    cosines = (axes / spacing).T @ (axes / spacing) - torch.eye(3, dtype=torch.float64)
    if (worst := float(cosines.abs().max())) > SHEAR_TOLERANCE:
        angle = math.degrees(math.asin(min(worst, 1.0)))
        yield Finding(
            "sheared",
            where,
            f"has axes that are {angle:.2g} degrees off a right angle",
            "resample it to an orthogonal grid (a tilted gantry?)",
        )


def size_warnings(image: MetaTensor, roi: Sequence[int] | None) -> Iterator[Finding]:
    """A volume smaller than the patch."""
    if roi is None or len(roi) != image.ndim - 1:
        return
    if any(n < r for n, r in zip(image.shape[1:], roi, strict=True)):
        yield Finding(
            "small",
            str(image.meta["filename_or_obj"]),
            f"is {times(image)} voxels, smaller than the patch ({' x '.join(map(str, roi))})",
            "it will be padded; choose a smaller patch if many are",
        )


def grid_faults(image: MetaTensor, label: MetaTensor) -> Iterator[Finding]:
    """A label that is not on the grid of its image."""
    where, other = str(label.meta["filename_or_obj"]), Path(image.meta["filename_or_obj"]).name
    if image.shape[1:] != label.shape[1:]:
        yield Finding(
            "label-shape",
            where,
            f"is {times(label)} voxels, its image {other} {times(image)}",
            "resample the label to the image's grid",
        )
        return
    last = torch.zeros(3, dtype=torch.float64)  # of a 2D image the third axis has one voxel
    last[: image.ndim - 1] = torch.tensor(image.shape[1:], dtype=torch.float64) - 1
    corners = torch.cartesian_prod(*(torch.stack([torch.zeros_like(n), n]) for n in last))
    corners = torch.cat([corners, torch.ones(8, 1, dtype=torch.float64)], dim=1)
    change = (label.affine - image.affine).to(torch.float64)
    moved = (corners @ change.T)[:, :3].norm(dim=1).max()
    voxel = image.affine[:3, :3].norm(dim=0).min()
    if moved > AFFINE_TOLERANCE * voxel:
        yield Finding(
            "label-affine",
            where,
            f"lies elsewhere than its image {other} (a corner is {moved:.3g} mm away: affines differ)",
            "resample it to the image's grid, or correct its header",
        )


def times(volume: Tensor) -> str:
    """``"12 x 10 x 8"``, the shape behind the channel axis."""
    return " x ".join(str(size) for size in volume.shape[1:])
