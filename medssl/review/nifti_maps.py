"""Predictions and their maps as NIfTI, in exactly the geometry of the scan they belong to."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medssl.common.errors import InputError
from medssl.data.reading.formats import NIFTI, format_of
from medssl.data.reading.nifti_writing import in_geometry_of, save_nifti


def write_like(
    path: str | Path,
    array: NDArray[Any],
    *,
    reference_file: str | Path,
    affine: NDArray[np.float64],
    overwrite: bool = False,
) -> None:
    """Write a volume as NIfTI beside its final name and move it there.

    The geometry is that of the scan, and no more (:func:`medssl.data.reading.nifti_writing.in_geometry_of`).
    The same volume gives the same bytes.

    Args:
        path: ``*.nii.gz`` or ``*.nii``.
        array: ``(X, Y, Z)`` in the voxel order of the scan.
        reference_file: the scan; its geometry is copied where it is NIfTI.
        affine: ``(4, 4)`` voxel to RAS in mm; used where the scan is not NIfTI.
        overwrite: replace a file that is there.

    Raises:
        InputError: the file is there and ``overwrite`` was not asked for.
        ValueError: the scan has another shape.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    if format_of(Path(reference_file)) is NIFTI:
        scan = nib.load(reference_file)
        if scan.shape[:3] != array.shape:
            raise ValueError(f"array must have the shape of the scan {scan.shape[:3]}, got {array.shape}")
        image = in_geometry_of(scan, array)
    else:
        image = nib.Nifti1Image(array, affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
        image.header.set_xyzt_units("mm")
    save_nifti(path, image)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse to write over a file.

    Raises:
        InputError: it is there and ``overwrite`` was not asked for.
    """
    if path.exists() and not overwrite:
        raise InputError(path, "exists already", "choose another folder or add overwrite")
