"""Predictions and their maps as NIfTI, in exactly the geometry of the scan they belong to."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medssl.common.errors import InputError
from medssl.common.files import atomic_path
from medssl.data.reading.formats import NIFTI, format_of

GEOMETRY = (
    "pixdim",
    "xyzt_units",
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
"""NIfTI header fields that say where voxels lie. The raw fields, because setting an affine rounds it anew."""


def write_like(
    path: str | Path,
    array: NDArray[Any],
    *,
    reference_file: str | Path,
    affine: NDArray[np.float64],
    overwrite: bool = False,
) -> None:
    """Write a volume as NIfTI beside its final name and move it there.

    Shape and affine, and for a NIfTI scan its sform and qform with their codes and its units, are those of
    the scan, bit for bit; nothing else of its header is taken over, since descriptions and extensions may
    name the patient. MONAI's ``SaveImage`` keeps the affine alone: a scan with codes 4 and 2 in millimetres
    comes out with codes 1 and 1, the sform's transform as qform and no unit; hence our own. The same volume
    gives the same bytes.

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
        header = type(scan.header)()
        for field in GEOMETRY:
            header[field] = scan.header[field]
        header.set_data_dtype(array.dtype)
        image_class = nib.Nifti2Image if isinstance(scan.header, nib.Nifti2Header) else nib.Nifti1Image
        image = image_class(array, scan.affine, header)
    else:
        image = nib.Nifti1Image(array, affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
        image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=raw, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(raw)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse to write over a file.

    Raises:
        InputError: it is there and ``overwrite`` was not asked for.
    """
    if path.exists() and not overwrite:
        raise InputError(path, "exists already", "choose another folder or add overwrite")
