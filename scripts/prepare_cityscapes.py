"""Prepare Cityscapes, 19 classes: ``python scripts/prepare_cityscapes.py SOURCE OUT --labeled 1/16``.

SOURCE holds the official ``leftImg8bit`` and ``gtFine`` (Cordts et al. 2016), each with ``train/CITY`` and
``val/CITY``. OUT gets the images as they are (linked) as ``images/CITY_000000_000019.png``, and masks of
the 19 classes that the benchmark evaluates (``trainIds``); all others are 255.
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

EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The official id of class 0, 1 and so on."""

TABLE = {**dict.fromkeys(range(34), 255), **{stored: number for number, stored in enumerate(EVALUATED)}}


def find(source: Path) -> dict[str, dict[str, str]]:
    """The images of both lists with their masks of official ids."""
    sources: dict[str, dict[str, str]] = {}
    for part in ("train", "val"):
        folder = need_folder(source / "leftImg8bit" / part, "name the folder with leftImg8bit and gtFine")
        masks = named(
            sorted((source / "gtFine" / part).glob("*/*_gtFine_labelIds.png")), ending="_gtFine_labelIds.png"
        )
        images = named(sorted(folder.glob("*/*_leftImg8bit.png")), ending="_leftImg8bit.png")
        for case, image in images.items():
            sources[case] = {"image": str(image)}
            if case in masks:
                sources[case]["label"] = str(masks[case])
    return sources


def convert(parts: Mapping[str, str]) -> PreparedImage:
    """One case."""
    return mapped(parts, TABLE, expected="official ids 0 to 33 (labelIds)")


def prepare(source: Path, out: Path, *, jobs: int, overwrite: bool) -> Outcome:
    """Prepare the folder."""
    return prepare_images(
        "cityscapes", out, find(source), convert, suffix=".png", jobs=jobs, overwrite=overwrite
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = parser_for_images(__doc__, source="the folder with leftImg8bit and gtFine")
    options = parser.parse_args(argv)
    return run_image_script(
        lambda: prepare(options.source, options.out, jobs=options.jobs, overwrite=options.overwrite),
        dataset="cityscapes",
        out=options.out,
        labeled=options.labeled,
    )


if __name__ == "__main__":
    sys.exit(main())
