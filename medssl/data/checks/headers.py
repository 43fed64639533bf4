"""What a NIfTI header says that the loaded volume no longer shows."""

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medssl.data.checks.findings import Finding
from medssl.data.checks.volumes import AFFINE_TOLERANCE

UNITS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}
"""Codes of the spatial units that are not mm, and what one of each is in mm."""


def nifti_header_findings(path: Path) -> Iterator[Finding]:
    """Warnings of a readable NIfTI file: transforms that disagree, a spacing in another unit than mm."""
    header = nib.load(path).header
    unit = int(header["xyzt_units"]) % 8
    if unit in UNITS:
        name, factor = UNITS[unit]
        yield Finding(
            "unit",
            str(path),
            f"says that its spacing is in {name}; it is read as mm",
            f"multiply the spacing by {factor:g} and set the unit to mm, or correct the unit",
        )
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None:
        return
    spacing, stored = np.linalg.norm(sform[:3, :3], axis=0), np.asarray(header["pixdim"][1:4])
    if not np.allclose(spacing, stored, rtol=1e-3):
        # MONAI then takes the qform, even where its code says that nobody set it.
        yield Finding(
            "transforms",
            str(path),
            f"has a spacing of {_times(stored)} mm, but {_times(spacing)} mm in its sform",
            "see which one is right, and write it to both",
        )
    elif qform is not None:
        size = np.asarray(header.get_data_shape()[:3]) - 1.0
        corners = np.stack([*np.ndindex(2, 2, 2)]) * size
        change = (qform - sform)[:3]
        moved = float(np.linalg.norm(corners @ change[:, :3].T + change[:, 3], axis=1).max())
        if moved > AFFINE_TOLERANCE * spacing.min():
            yield Finding(
                "transforms",
                str(path),
                f"has a qform and an sform that put a corner {moved:.3g} mm apart (the sform is used)",
                "see which one is right, and write it to both",
            )


def _times(spacing: NDArray[np.floating]) -> str:
    return " x ".join(f"{value:.3g}" for value in spacing)
