"""Prepare Pancreas-CT (NIH): ``python scripts/prepare_pancreas_ct.py DICOM LABELS OUT``.

DICOM is the archive's tree, in which a folder ``PANCREAS_0001`` holds, at any depth, the one series of a
case; LABELS is the folder of ``label0001.nii.gz``. OUT gets ``images/image0001.nii.gz`` and
``labels/image0001.nii.gz`` for ``medssl datalist --dataset pancreas_ct --data OUT``: Hounsfield units from
-125 to 275 on a grid of 1 mm.

The archive stores its labels flipped along some axes; they are brought to the axes of the scan by what the
headers say of world geometry. Look at a case before you go on.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor
from monai.data.utils import orientation_ras_lps
from numpy.typing import NDArray

from medssl.common.errors import InputError
from medssl.data import LoadCased
from medssl.data.checks.findings import refuse
from medssl.data.checks.volumes import grid_faults
from medssl.data.preparing.forms import Prepared
from medssl.data.preparing.prepare import Outcome, Recipe, parser_for, prepare_set, run_script, walk
from medssl.data.reading.alignment import align_label
from medssl.data.reading.formats import is_dicom_folder

WINDOW = (-125.0, 275.0)
"""Hounsfield units: level 75, width 400."""

SPACING = 1.0
"""Millimetres along each axis."""


def find(dicom: Path, labels: Path) -> dict[str, dict[str, str]]:
    """The cases of the archive: every folder of a DICOM series, with the label of its number."""
    for folder in (dicom, labels):
        if not folder.is_dir():
            raise InputError(folder, "no such folder", "name the DICOM tree and the folder of labels")
    numbered = {}
    for folder, names in walk(labels):
        for name in names:
            if match := re.fullmatch(r"label(\d{4})\.nii(?:\.gz)?", name):
                numbered[match.group(1)] = folder / name
    found: dict[str, dict[str, str]] = {}
    for folder, names in walk(dicom):
        match = re.search(r"PANCREAS_(\d{4})", str(folder.relative_to(dicom.parent)))
        if not match or not names or not is_dicom_folder(folder):
            continue
        case = f"image{match.group(1)}"
        if case in found:
            raise InputError(
                folder, f"{case} has another series in {found[case]['image']}", "keep one of them"
            )
        found[case] = {"image": str(folder)}
        if match.group(1) in numbered:
            found[case]["label"] = str(numbered[match.group(1)])
    return found


def convert(parts: Mapping[str, str], *, ignore_label_origin: bool) -> Prepared:
    """One case: label aligned, both on the 1 mm grid, the image clipped to the window."""
    load = LoadCased(["image", "label"])
    image = load.load_image([Path(parts["image"])])
    label = None
    if "label" in parts:
        path = Path(parts["label"])
        label = align_label(load.load_label([path]), image, where=path)
        if ignore_label_origin:
            label.affine[:3, 3] = image.affine[:3, 3]
        refuse(grid_faults(image, label))
        label.affine = image.affine
    values, affine = resample(image, order=3)
    values = np.clip(np.round(values), *WINDOW)
    return Prepared(values, affine, None if label is None else resample(label, order=0)[0])


def resample(volume: MetaTensor, *, order: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """``(X, Y, Z)`` on a grid of :data:`SPACING` with the same axes and first corner, and its affine.

    MONAI's ``Spacing`` would need three coordinates in float64 for every new voxel to use a cubic spline,
    some gigabytes for a CT. The size is rounded down, so that no voxel lies outside.

    Args:
        volume: ``(1, X, Y, Z)``.
        order: 3 for a cubic B-spline, 0 for nearest neighbour.
    """
    affine = orientation_ras_lps(volume.affine.numpy().astype(np.float64))
    old = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / old
    source = sitk.GetImageFromArray(np.ascontiguousarray(volume.numpy()[0].astype(np.float32).T))
    source.SetSpacing(old.tolist())
    source.SetDirection(direction.ravel().tolist())
    source.SetOrigin(affine[:3, 3].tolist())
    new = np.full(3, SPACING)
    size = np.maximum(np.floor(np.asarray(volume.shape[1:]) * old / new + 1e-3), 1).astype(int)
    origin = affine[:3, 3] + direction @ ((new - old) / 2)
    result = sitk.Resample(
        source,
        size.tolist(),
        sitk.Transform(),
        sitk.sitkBSpline if order == 3 else sitk.sitkNearestNeighbor,
        origin.tolist(),
        new.tolist(),
        direction.ravel().tolist(),
    )
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = direction * new, origin
    return sitk.GetArrayFromImage(result).T, orientation_ras_lps(moved)


def prepare(
    dicom: Path, labels: Path, out: Path, *, ignore_label_origin: bool, jobs: int, overwrite: bool
) -> Outcome:
    """Prepare the archive."""
    settings = {"recipe": 1, "window": WINDOW, "spacing": SPACING, "ignore_label_origin": ignore_label_origin}
    recipe = Recipe("pancreas_ct", ("background", "pancreas"), {**settings, "window": list(WINDOW)})
    work = partial(convert, ignore_label_origin=ignore_label_origin)
    return prepare_set(out, find(dicom, labels), work, recipe, jobs=jobs, overwrite=overwrite)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = parser_for(__doc__)
    parser.add_argument("dicom", type=Path, help="the archive's DICOM tree")
    parser.add_argument("labels", type=Path, help="folder of label0001.nii.gz, ...")
    parser.add_argument("out", type=Path, help="folder of the prepared set")
    parser.add_argument(
        "--ignore-label-origin",
        action="store_true",
        help="take the directions of a label's axes from its header, but not where it lies",
    )
    options = parser.parse_args(argv)
    return run_script(
        lambda: prepare(
            options.dicom,
            options.labels,
            options.out,
            ignore_label_origin=options.ignore_label_origin,
            jobs=options.jobs,
            overwrite=options.overwrite,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
