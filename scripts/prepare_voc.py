"""Prepare PASCAL VOC 2012, 21 classes: ``python scripts/prepare_voc.py SOURCE OUT --sbd SBD --labeled 366``.

SOURCE is the official ``VOCdevkit/VOC2012`` (Everingham et al. 2010) with ``JPEGImages`` and
``SegmentationClass``. ``--sbd`` names the Semantic Boundaries Dataset (Hariharan et al. 2011:
``benchmark_RELEASE/dataset`` with ``cls/*.mat``), or the folder ``SegmentationClassAug`` that is passed
around, with PNGs of class ids. OUT gets the 10,582 training and 1,449 validation images as they are
(linked) and their masks, 255 on the borders of objects. Where both have a mask, VOC's own is taken. Without
``--sbd`` 9,118 training images stay unlabelled, which the classic subsets (92 to 1464) do not notice.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from medssl.common.errors import InputError
from medssl.data import read_split
from medssl.data.preparing.forms import PreparedImage
from medssl.data.preparing.images import (
    mapped,
    named,
    need_folder,
    parser_for_images,
    prepare_images,
    run_image_script,
    sound_image,
)
from medssl.data.preparing.prepare import Outcome

CLASSES = 21
TABLE = {number: number for number in range(CLASSES)}


def find(source: Path, sbd: Path | None) -> dict[str, dict[str, str]]:
    """The images of the published lists with their masks."""
    folder = need_folder(source / "JPEGImages", "name the folder VOCdevkit/VOC2012")
    need_folder(source / "SegmentationClass", "name the folder VOCdevkit/VOC2012")
    split = read_split("pascal_voc")
    masks = {} if sbd is None else _augmented(need_folder(sbd, "name the folder of SBD"))
    masks |= named(sorted((source / "SegmentationClass").glob("*.png")))
    images = named(sorted(folder.glob("*.jpg")))
    sources: dict[str, dict[str, str]] = {}
    for case in (*split.training, *split.validation):
        if case in images:
            sources[case] = {"image": str(images[case])}
            if case in masks:
                sources[case]["label"] = str(masks[case])
    return sources


def _augmented(sbd: Path) -> dict[str, Path]:
    """The masks of SBD, as published or as PNGs."""
    for folder in (sbd / "cls", sbd / "dataset" / "cls"):
        if folder.is_dir():
            return named(sorted(folder.glob("*.mat")))
    masks = named(sorted(sbd.glob("*.png")))
    if not masks:
        raise InputError(sbd, "holds neither cls/*.mat nor PNGs", "name benchmark_RELEASE/dataset")
    return masks


def convert(parts: Mapping[str, str]) -> PreparedImage:
    """One case."""
    label = parts.get("label", "")
    if not label.endswith(".mat"):
        return mapped(parts, TABLE, expected=f"class ids 0 to {CLASSES - 1} and 255 (palette PNGs)")
    try:
        ids = np.asarray(loadmat(label)["GTcls"]["Segmentation"][0, 0])
    except Exception as error:  # scipy raises its own kinds over a damaged file
        raise InputError(label, "is no mask of SBD", "extract it again") from error
    if ids.ndim != 2 or ids.min() < 0 or ids.max() >= CLASSES:
        raise InputError(label, f"is no mask of {CLASSES} classes", "extract it again")
    return PreparedImage(sound_image(parts), ids.astype(np.uint8))


def prepare(source: Path, out: Path, *, sbd: Path | None, jobs: int, overwrite: bool) -> Outcome:
    """Prepare the folder."""
    return prepare_images(
        "voc", out, find(source, sbd), convert, suffix=".jpg", jobs=jobs, overwrite=overwrite
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = parser_for_images(__doc__, source="the folder VOCdevkit/VOC2012")
    parser.add_argument("--sbd", type=Path, metavar="DIR", help="folder of SBD, or SegmentationClassAug")
    options = parser.parse_args(argv)
    return run_image_script(
        lambda: prepare(
            options.source, options.out, sbd=options.sbd, jobs=options.jobs, overwrite=options.overwrite
        ),
        dataset="voc",
        out=options.out,
        labeled=options.labeled,
    )


if __name__ == "__main__":
    sys.exit(main())
