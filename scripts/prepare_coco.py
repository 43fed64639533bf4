"""Prepare COCO 2017, 80 classes and background: ``python scripts/prepare_coco.py SOURCE OUT --lists LISTS``.

SOURCE is the official folder with ``train2017``, ``val2017`` and
``annotations/instances_{train,val}2017.json`` (Lin et al. 2014). OUT gets the images as they are (linked;
the grey ones as RGB) and masks of class ids 0 (background) to 80, drawn from the objects' outlines: an
earlier object covers a later one, a crowd counts as its class. The published labelled subsets are too large
to be carried: ``--lists`` names the folder ``splits/coco`` of UniMatch, with ``1_512/labeled.txt`` and so
on. Without it each subset is drawn with a fixed seed, as large as the published one, and is not the
published one.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from medssl.common.draws import generator
from medssl.common.errors import InputError
from medssl.common.files import write_text
from medssl.data import read_split
from medssl.data.lists.image_sets import LISTS_FILE
from medssl.data.preparing.coco_masks import class_map
from medssl.data.preparing.forms import PreparedImage
from medssl.data.preparing.images import (
    need_folder,
    parser_for_images,
    prepare_images,
    run_image_script,
    sound_image,
)
from medssl.data.preparing.prepare import Outcome

PARTS = {"training": "train2017", "validation": "val2017"}


def read_annotations(path: Path) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Objects (``class``, ``segmentation``) by file name of the image, and names of the classes from 1."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        categories = sorted(facts["categories"], key=lambda category: category["id"])
        class_of = {category["id"]: number for number, category in enumerate(categories, start=1)}
        file_of = {image["id"]: str(image["file_name"]) for image in facts["images"]}
        objects: dict[str, list[dict[str, Any]]] = {file: [] for file in file_of.values()}
        for annotation in facts["annotations"]:
            entry = {
                "class": class_of[annotation["category_id"]],
                "segmentation": annotation["segmentation"],
            }
            objects[file_of[annotation["image_id"]]].append(entry)
    except FileNotFoundError as error:
        raise InputError(path, "no such file", "extract annotations_trainval2017.zip") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, "holds no annotations of objects", "extract it again") from error
    return objects, [str(category["name"]) for category in categories]


def find(source: Path) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """The images with their objects as JSON text, and the cases of each list."""
    need_folder(source, "name the folder with train2017, val2017 and annotations")
    sources: dict[str, dict[str, str]] = {}
    lists: dict[str, list[str]] = defaultdict(list)
    expected = list(read_split("coco").classes[1:])
    for name, part in PARTS.items():
        folder = need_folder(source / part, f"extract {part}.zip")
        path = source / "annotations" / f"instances_{part}.json"
        objects, classes = read_annotations(path)
        if classes != expected:
            fault = f"names {len(classes)} classes, which are not COCO's 80"
            raise InputError(path, fault, "take instances_*2017.json")
        for file in sorted(objects):
            if (folder / file).is_file():
                case = Path(file).stem
                sources[case] = {"image": str(folder / file), "label": json.dumps(objects[file])}
                lists[name].append(case)
    return sources, dict(lists)


def partitions(training: Sequence[str], folder: Path | None) -> dict[str, list[str]]:
    """The labelled cases of each subset, from the published lists or drawn."""
    subsets = {}
    for name, count in read_split("coco").labeled_counts.items():
        if folder is None:
            if count <= len(training):
                drawn = generator("coco", name).choice(len(training), count, replace=False)
                subsets[name] = [training[index] for index in sorted(drawn)]
            continue
        path = folder / name / "labeled.txt"
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except OSError as error:
            raise InputError(path, "no such file", "name the folder splits/coco of UniMatch") from error
        subsets[name] = [Path(line.split()[0]).stem for line in lines if line.strip()]
        unknown = set(subsets[name]) - set(training)
        if unknown:
            fault = f"names {len(unknown)} images that are not there ({min(unknown)})"
            raise InputError(path, fault, "extract train2017.zip")
    return subsets


def convert(parts: Mapping[str, str]) -> PreparedImage:
    """One case."""
    image = sound_image(parts)
    with Image.open(image) as picture:
        size = (picture.height, picture.width)
    return PreparedImage(image, class_map(json.loads(parts["label"]), size))


def prepare(source: Path, out: Path, *, lists: Path | None, jobs: int, overwrite: bool) -> Outcome:
    """Prepare the folder."""
    sources, cases = find(source)
    subsets = partitions(cases.get("training", []), lists)
    settings = {"subsets": "drawn" if lists is None else "published"}
    outcome = prepare_images(
        "coco", out, sources, convert, suffix=".jpg", jobs=jobs, overwrite=overwrite, settings=settings
    )
    record = {"training": [], "validation": [], **cases, "partitions": subsets}
    write_text(out / LISTS_FILE, json.dumps(record) + "\n")
    return outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = parser_for_images(__doc__, source="the folder with train2017, val2017 and annotations")
    parser.add_argument("--lists", type=Path, metavar="DIR", help="the folder splits/coco of UniMatch")
    options = parser.parse_args(argv)
    return run_image_script(
        lambda: prepare(
            options.source, options.out, lists=options.lists, jobs=options.jobs, overwrite=options.overwrite
        ),
        dataset="coco",
        out=options.out,
        labeled=options.labeled,
    )


if __name__ == "__main__":
    sys.exit(main())
