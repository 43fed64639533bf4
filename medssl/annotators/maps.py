"""Annotation maps on disk: what somebody else's model says of one image, in probabilities of our classes.

A map is ``<name>.npz`` with the one array ``probs`` ``(K, *S)``, or of a volume ``<name>.nii.gz`` with four
axes, the classes last, in the voxel order and geometry of its scan. Values are uint8, of which 255 stands for
1, or floating-point numbers in [0, 1]. The grid may be coarser than the image; both cover the same field of
view.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medssl.common.errors import InputError
from medssl.common.files import atomic_path
from medssl.data.reading.formats import NIFTI, format_of
from medssl.data.reading.nifti_writing import in_geometry_of, save_nifti

KEY = "probs"
SUFFIXES = (".npz", *NIFTI.suffixes)
"""Of the files that are maps."""

WHITE = 255
"""What stands for a probability of 1 in maps of uint8."""

SLACK = 1e-3
"""How far outside of [0, 1] a stored floating-point number may be: float16 rounds a 1 that was a sum."""

Precision = Literal["uint8", "float16", "float32"]


def as_distribution(values: NDArray[Any], *, where: str | Path = "probs") -> NDArray[np.float32]:
    """Scores of ``K`` classes, scaled so that those of every place sum to one.

    Where all of them are 0 nothing was said, and every class gets ``1 / K``.

    Args:
        values: ``(K, *S)``; uint8 with 255 for 1, or floating-point numbers in [0, 1]. Their sums need not be
            one: rounding leaves them a little off, and independent scores (sigmoids) may be far off.
        where: what the error names.

    Returns:
        ``(K, *S)``, a new array.

    Raises:
        InputError: fewer than two classes, other than two or three spatial axes, an axis of no length, other
            types, or numbers that are no probabilities (NaN, below 0 or above 1: logits, say).
    """
    remedy = "store probabilities (K, H, W) or (K, X, Y, Z): uint8 with 255 for 1, or floats in [0, 1]"
    if values.ndim not in (3, 4) or len(values) < 2 or not values.size:
        raise InputError(where, f"has the shape {values.shape}", remedy)
    if values.dtype == np.uint8:
        scores = values.astype(np.float32)  # a scale is lost in the division below
    elif values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not -SLACK <= low <= high <= 1 + SLACK:  # NaN, too, is outside
            raise InputError(where, f"holds values from {low:.4g} to {high:.4g}", remedy)
        scores = values.astype(np.float32).clip(0, 1)
    else:
        raise InputError(where, f"holds numbers of type {values.dtype}", remedy)
    total = scores.sum(0, keepdims=True)
    uniform = np.float32(1 / len(scores))
    return np.where(total > 0, scores / np.where(total > 0, total, 1), uniform)


def read_map(path: str | Path) -> NDArray[np.float32]:
    """Read an annotation map.

    Args:
        path: ``.npz``, ``.nii.gz`` or ``.nii``.

    Returns:
        ``(K, *S)`` probabilities that sum to one at every place (:func:`as_distribution`); of a NIfTI map in
        the voxel order of the file.

    Raises:
        InputError: the file is missing, damaged, no map, or its numbers are no probabilities.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", "make it with `medssl annotate`, or put your own there")
    if path.name.lower().endswith(NIFTI.suffixes):
        return as_distribution(_stored_nifti(path), where=path)
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("it is one array")
        with content:
            if KEY not in content:
                fault = f"holds no array {KEY!r} (it holds {', '.join(content) or 'nothing'})"
                raise InputError(path, fault, f"save it with numpy.savez_compressed(path, {KEY}=...)")
            stored = content[KEY]
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error
    return as_distribution(stored, where=path)


def write_map(
    path: str | Path,
    probs: NDArray[np.floating],
    *,
    precision: Precision = "uint8",
    scan: str | Path | None = None,
) -> None:
    """Write an annotation map, whole or not at all; the same map gives the same bytes.

    What :func:`read_map` gives back differs, by rounding, by at most ``(1 + K p) / (510 - K)`` at a
    probability of ``p`` for uint8, whose sums are off by up to ``K / 510`` and are made one again: 0.024 for
    11 classes at the very worst, and 0.001 in the mean; many classes (above 50, say) are better kept in
    float16 (0.0005 relative).

    Args:
        path: ``.npz``, or of a volume ``.nii.gz`` or ``.nii``.
        probs: ``(K, *S)`` in [0, 1]; scaled to sum to one first.
        precision: of the numbers on disk.
        scan: of a NIfTI map, the NIfTI scan in whose voxel order it is. Its geometry (sform and qform with
            their codes, units) is taken over, and nothing else of its header, which may name the patient.

    Raises:
        InputError: numbers that are no probabilities, or a map that is to be NIfTI and is of no such scan.
    """
    path = Path(path)
    values = as_distribution(probs, where=path)
    stored = np.rint(values * WHITE).astype(np.uint8) if precision == "uint8" else values.astype(precision)
    if path.name.lower().endswith(NIFTI.suffixes):
        if precision == "float16":  # NIfTI has no such numbers
            stored = stored.astype(np.float32)
        image = _nifti(path, np.moveaxis(stored, 0, -1), scan)
        save_nifti(path, image)
        return
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, probs=stored)  # KEY


def nifti_affine(path: Path) -> NDArray[np.float64] | None:
    """Voxel to RAS of a NIfTI file, ``(4, 4)``; None of other formats, and where it cannot be read."""
    if path.is_dir() or format_of(path) is not NIFTI:
        return None
    try:
        return np.asarray(nib.load(path).affine, np.float64)
    except (OSError, ValueError, EOFError, ImageFileError, HeaderDataError):
        return None


def _stored_nifti(path: Path) -> NDArray[Any]:
    """``(K, X, Y, Z)`` as stored."""
    try:
        image = nib.load(path)
        # numpy's own scaling of uint8 where a program wrote one (slope 1/255): floats, then.
        stored = np.asanyarray(image.dataobj)
    except (OSError, ValueError, EOFError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise _damaged(path, error) from error
    if stored.ndim != 4:
        remedy = "write four axes (X, Y, Z, K), the classes last"
        raise InputError(path, f"has the shape {stored.shape}", remedy)
    return np.moveaxis(stored, -1, 0)


def _nifti(path: Path, stored: NDArray[Any], scan: str | Path | None) -> Any:
    """The image of ``(X, Y, Z, K)`` in the geometry of its scan."""
    source = None if scan is None else Path(scan)
    if stored.ndim != 4 or source is None or source.is_dir() or format_of(source) is not NIFTI:
        raise InputError(path, "is to be NIfTI, but there is no NIfTI scan whose map it is", "write .npz")
    reference = nib.load(source)
    if reference.shape[:3] != stored.shape[:3]:
        sizes = [" x ".join(map(str, shape[:3])) for shape in (stored.shape, reference.shape)]
        raise InputError(path, f"has {sizes[0]} voxels, its scan {sizes[1]}", "write .npz")
    return in_geometry_of(reference, stored)


def _damaged(path: Path, error: BaseException) -> InputError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return InputError(path, f"cannot be read as an annotation map ({first})", "remove it and make it anew")
