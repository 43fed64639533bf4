"""Prepare the left-atrium set (2018 challenge): ``python scripts/prepare_la.py SOURCE OUT``.

SOURCE is the challenge's folder, in which every case is a folder with ``lgemri.nrrd`` and ``laendo.nrrd``
("Training Set" and "Testing Set" alike, at any depth), or a folder of the field's ``CASE/mri_norm2.h5``. OUT
gets ``images/CASE.nii.gz`` and ``labels/CASE.nii.gz`` for ``medssl datalist --dataset la --data OUT``.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from medssl.common.errors import InputError
from medssl.data.preparing.forms import Prepared
from medssl.data.preparing.prepare import (
    Outcome,
    Recipe,
    load_case,
    parser_for,
    prepare_set,
    run_script,
    walk,
)
from medssl.data.preparing.reference_roi import reference_box

H5_SPACING = 0.625
"""Millimetres; HDF5 files do not say it."""

MARGIN, MIN_SIZE = 15, (112, 112, 80)
"""Of the published crop: a margin drawn from 10 to 20 voxels, made repeatable by its middle, around at least
one training patch; along the third axis there is none."""

Crop = Literal["none", "reference-roi"]


def find(source: Path) -> dict[str, dict[str, str]]:
    """The cases of a folder."""
    if not source.is_dir():
        raise InputError(source, "no such folder", "name the challenge's folder or that of the HDF5 files")
    folders = list(walk(source))
    files = [folder / name for folder, names in folders for name in names if name == "lgemri.nrrd"]
    files = files or [folder / name for folder, names in folders for name in names if name == "mri_norm2.h5"]
    found: dict[str, dict[str, str]] = {}
    for image in files:
        case = image.parent.name
        if case in found:
            raise InputError(
                image, f"a case of this name lies in {found[case]['image']} too", "keep one of them"
            )
        found[case] = {"image": str(image)}
        label = image if image.suffix == ".h5" else image.with_name("laendo.nrrd")
        if label.is_file():
            found[case]["label"] = str(label)
    return found


def convert(parts: Mapping[str, str], *, crop: Crop) -> Prepared:
    """One case: intensities and geometry as they are, the label's 255 as 1."""
    volume, reference = load_case(parts, h5_spacing=H5_SPACING)
    image, affine = volume.numpy()[0], np.array(volume.affine, dtype=np.float64)
    if reference is None:
        if crop != "none":
            raise InputError(parts["image"], "has no label to crop around", "prepare it with --crop none")
        return Prepared(image, affine, None)
    ids = reference.unique().tolist()
    if len(ids) > 2 or ids[0] != 0:
        raise InputError(parts["label"], f"holds the ids {ids[:5]}", "expected 0 and one id for the atrium")
    atrium = reference[0] > 0
    label = atrium.numpy().astype(np.uint8)
    if crop == "reference-roi":
        box = reference_box(atrium, margin=MARGIN, min_size=MIN_SIZE, axes=(0, 1))
        if box is None:
            raise InputError(parts["label"], "is an empty label", "prepare it with --crop none")
        inside = tuple(slice(start, stop) for start, stop in box)
        image, label = image[inside], label[inside]
        affine[:3, 3] += affine[:3, :3] @ [start for start, _ in box]
    return Prepared(image, affine, label)


def prepare(source: Path, out: Path, *, crop: Crop, jobs: int, overwrite: bool) -> Outcome:
    """Prepare the folder."""
    recipe = Recipe("la", ("background", "left atrium"), {"recipe": 1, "crop": crop})
    return prepare_set(out, find(source), partial(convert, crop=crop), recipe, jobs=jobs, overwrite=overwrite)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = parser_for(__doc__)
    parser.add_argument("source", type=Path, help="the challenge's folder, or that of the HDF5 files")
    parser.add_argument("out", type=Path, help="folder of the prepared set")
    parser.add_argument(
        "--crop",
        choices=["none", "reference-roi"],
        default="none",
        help="reference-roi: cut around the reference label as published, test cases included; for "
        "comparison with published numbers only (default none)",
    )
    options = parser.parse_args(argv)
    return run_script(
        lambda: prepare(
            options.source, options.out, crop=options.crop, jobs=options.jobs, overwrite=options.overwrite
        )
    )


if __name__ == "__main__":
    sys.exit(main())
