"""Prepare ADE20K, 150 classes: ``python scripts/prepare_ade20k.py SOURCE OUT --labeled 1/16``.

SOURCE is the folder ``ADEChallengeData2016`` of the scene-parsing benchmark (Zhou et al. 2017) with
``images/{training,validation}`` and ``annotations/{training,validation}``. OUT gets the images as they are
(linked) and masks in which class ids begin at 0 and 255 is ignored; the annotations hold 0 for "ignore" and
id + 1 otherwise.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from medssl.data.preparing.forms import PreparedImage
from medssl.data.preparing.images import (
    mapped,
    named,
    need_folder,
    parser_for_images,
    prepare_images,
    run_image_script,
)
from medssl.data.preparing.prepare import Outcome

CLASSES = 150
TABLE = {0: 255, **{number: number - 1 for number in range(1, CLASSES + 1)}}


def find(source: Path) -> dict[str, dict[str, str]]:
    """The images with their annotations."""
    sources: dict[str, dict[str, str]] = {}
    for part in ("training", "validation"):
        folder = need_folder(source / "images" / part, "name the folder ADEChallengeData2016")
        masks = named(sorted((source / "annotations" / part).glob("*.png")))
        for case, image in named(sorted(folder.glob("*.jpg"))).items():
            sources[case] = {"image": str(image)}
            if case in masks:
                sources[case]["label"] = str(masks[case])
    return sources


def convert(parts: Mapping[str, str]) -> PreparedImage:
    """One case."""
    return mapped(parts, TABLE, expected=f"0 for ignored and 1 to {CLASSES}")


def prepare(source: Path, out: Path, *, jobs: int, overwrite: bool) -> Outcome:
    """Prepare the folder."""
    return prepare_images("ade20k", out, find(source), convert, suffix=".jpg", jobs=jobs, overwrite=overwrite)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = parser_for_images(__doc__, source="the folder ADEChallengeData2016").parse_args(argv)
    return run_image_script(
        lambda: prepare(options.source, options.out, jobs=options.jobs, overwrite=options.overwrite),
        dataset="ade20k",
        out=options.out,
        labeled=options.labeled,
    )


if __name__ == "__main__":
    sys.exit(main())
