"""Labels that are stored in another axis order or direction than their scans."""

from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from medssl.common.errors import InputError

AXIS_TOLERANCE = 1e-3
"""How far a direction cosine may be from 0 or 1 where axes are only permuted or flipped."""


def align_label(label: MetaTensor, image: MetaTensor, *, where: str | Path) -> MetaTensor:
    """The label with its axes permuted and flipped to those of the image, as world geometry says.

    Archives store labels in another axis order or direction than the scans that they belong to (the labels
    of Pancreas-CT, for one). Nothing is resampled.

    Args:
        label: ``(1, X, Y, Z)`` with its affine.
        image: ``(C, X, Y, Z)`` with its affine.
        where: file of the label, for the message.

    Raises:
        InputError: the axes are turned by anything but quarter turns, or the shapes do not match.
    """
    change = np.linalg.inv(image.affine.numpy()) @ label.affine.numpy()
    directions = change[:3, :3] / np.linalg.norm(change[:3, :3], axis=0)
    if np.abs(np.abs(directions).max(axis=0) - 1).max() > AXIS_TOLERANCE:
        raise InputError(
            where, "is turned against its image by no quarter turn", "resample it to the image's grid"
        )
    orientation = io_orientation(change)
    array = apply_orientation(label.numpy()[0], orientation)
    if array.shape != tuple(image.shape[1:]):
        label_size, image_size = (" x ".join(map(str, shape)) for shape in (array.shape, image.shape[1:]))
        raise InputError(
            where, f"is {label_size} voxels, its image {image_size}", "see that they belong together"
        )
    affine = label.affine.numpy() @ inv_ornt_aff(orientation, label.shape[1:])
    meta = {key: value for key, value in label.meta.items() if key != "affine"}
    return MetaTensor(np.ascontiguousarray(array)[None], affine=affine, meta=meta)
