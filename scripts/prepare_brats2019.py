"""Prepare BraTS 2019, whole tumour on FLAIR: ``python scripts/prepare_brats2019.py SOURCE OUT``.

SOURCE is the archive's folder (``HGG`` and ``LGG``, at any depth) with ``CASE/CASE_flair.nii.gz`` and
``CASE/CASE_seg.nii.gz``. OUT gets ``images/CASE.nii.gz`` and ``labels/CASE.nii.gz`` for
``medssl datalist --dataset brats2019 --data OUT``. Cases without a segmentation become unlabelled images.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

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

SUFFIXES = (".nii.gz", ".nii")
FLAIR = tuple(f"_flair{suffix}" for suffix in SUFFIXES)


def find(source: Path) -> dict[str, dict[str, str]]:
    """The cases of a folder."""
    if not source.is_dir():
        raise InputError(source, "no such folder", "name the folder that holds HGG and LGG")
    found: dict[str, dict[str, str]] = {}
    for image in (folder / name for folder, names in walk(source) for name in names if name.endswith(FLAIR)):
        case = image.name.partition("_flair.")[0]
        if case in found:
            raise InputError(
                image, f"a case of this name lies in {found[case]['image']} too", "keep one of them"
            )
        found[case] = {"image": str(image)}
        labels = (image.with_name(f"{case}_seg{suffix}") for suffix in SUFFIXES)
        label = next((path for path in labels if path.is_file()), None)
        if label is not None:
            found[case]["label"] = str(label)
    return found


def convert(parts: Mapping[str, str]) -> Prepared:
    """One case: FLAIR and its geometry as they are; oedema, core and enhancing tumour (1, 2, 4) as 1."""
    image, stored = load_case(parts)
    label = None if stored is None else (stored.numpy()[0] > 0).astype(np.uint8)
    return Prepared(image.numpy()[0], np.array(image.affine, dtype=np.float64), label)


def prepare(source: Path, out: Path, *, jobs: int, overwrite: bool) -> Outcome:
    """Prepare the folder."""
    recipe = Recipe("brats2019", ("background", "whole tumour"), {"recipe": 1, "modality": "flair"})
    return prepare_set(out, find(source), convert, recipe, jobs=jobs, overwrite=overwrite)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = parser_for(__doc__)
    parser.add_argument("source", type=Path, help="the archive's folder")
    parser.add_argument("out", type=Path, help="folder of the prepared set")
    options = parser.parse_args(argv)
    return run_script(
        lambda: prepare(options.source, options.out, jobs=options.jobs, overwrite=options.overwrite)
    )


if __name__ == "__main__":
    sys.exit(main())
