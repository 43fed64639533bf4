"""Volumes as NIfTI, in exactly the geometry of the scan they belong to."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
from numpy.typing import NDArray

from medssl.common.files import atomic_path

GEOMETRY = (
    "pixdim",
    "xyzt_units",
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
"""NIfTI header fields that say where voxels lie. The raw fields, because setting an affine rounds it anew."""


def in_geometry_of(scan: Any, array: NDArray[Any]) -> Any:
    """A nibabel image of ``array`` with the geometry of a scan, bit for bit.

    Shape and affine, sform and qform with their codes, and the units are the scan's; nothing else of its
    header is taken over, since descriptions and extensions may name the patient. MONAI's ``SaveImage`` keeps
    the affine alone: a scan with codes 4 and 2 in millimetres comes out with codes 1 and 1, the sform's
    transform as qform and no unit; hence our own.

    Args:
        scan: a nibabel NIfTI image.
        array: ``(X, Y, Z)`` or ``(X, Y, Z, K)`` in the voxel order of the scan.
    """
    header = type(scan.header)()
    for field in GEOMETRY:
        header[field] = scan.header[field]
    if array.ndim > 3:  # channels have no length
        header["pixdim"][4:] = 1
    header.set_data_dtype(array.dtype)
    kind = nib.Nifti2Image if isinstance(scan.header, nib.Nifti2Header) else nib.Nifti1Image
    return kind(array, scan.affine, header)


def save_nifti(path: Path, image: Any) -> None:
    """Write a nibabel image whole or not at all, compressed if ``path`` ends so; the same, the same bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=raw, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(raw)
