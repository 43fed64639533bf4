"""Published sets of natural images: where their files lie, and which of them a published subset labels."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medssl.common.errors import InputError, unknown_name
from medssl.data.lists.layout import CaseFiles, list_files, name_some
from medssl.data.lists.published_splits import Split, read_split

IMAGE_SETS: Mapping[str, str] = {
    "voc": "pascal_voc",
    "cityscapes": "cityscapes",
    "coco": "coco",
    "ade20k": "ade20k",
    "camvid": "camvid",
}
"""Split of a data set by the name that commands and overlays call it."""

LISTS_FILE = "lists.json"
"""Of a prepared set whose lists are not ours: ``training``, ``validation``, and ``partitions`` by name."""

PARTS = ("", "train", "val", "test")
"""Folders in ``images/`` and ``labels/`` in which files may lie."""


def image_files(folder: Path) -> dict[str, CaseFiles]:
    """The images of ``images/``, ``images/train``, ``images/val`` and ``images/test`` with their masks.

    Raises:
        InputError: there is no image, or two of them share a name.
    """
    files: dict[str, CaseFiles] = {}
    for part in PARTS:
        if not (folder / "images" / part).is_dir():
            continue
        masks = folder / "labels" / part
        labels = list_files(masks, axes=2, labels=True) if masks.is_dir() else {}
        for case, image in list_files(folder / "images" / part, axes=2).items():
            if case in files:
                raise InputError(image, f"bears the name of {files[case].image}", "keep one of the two files")
            files[case] = CaseFiles(case, image, labels.get(case))
    if not files:
        raise InputError(
            folder,
            "holds no image",
            "expected images/CASE.jpg (or .png) and labels/CASE.png, also in folders train and val of both",
        )
    return files


def complete_split(split: Split, folder: Path) -> Split:
    """The split with the lists of the folder's ``lists.json``, where ours holds counts alone (COCO).

    Raises:
        InputError: the file is missing, or is none of these lists.
    """
    if split.training:
        return split
    path = folder / LISTS_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        partitions = {str(name): tuple(cases) for name, cases in stored["partitions"].items()}
        training, validation = tuple(stored["training"]), tuple(stored["validation"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = f"prepare the set with scripts/prepare_{split.name}.py"
        raise InputError(path, f"does not list the images of {split.title}", remedy) from error
    return replace(split, training=training, validation=validation, partitions=partitions)


def labeled_cases(split: Split, labeled: int | float | str | None) -> tuple[str, tuple[str, ...]]:
    """Who is labelled, by what a user asked for, and that in words.

    Args:
        split: its ``partitions`` or, of nested subsets, its ``labeled_counts``.
        labeled: a name of a subset such as ``"1/16"``, ``"1_16"``, ``"92"`` or ``"blender/662"``; a number of
            images, or their fraction: the subset of that size; None for all training images. Of a set
            without partitions the first N of the training list.

    Raises:
        InputError: no published subset has this name or size, or several have it.
    """
    if labeled is None:
        return "all of the training list", split.training
    subsets = dict(split.partitions) or {
        name: split.training[:count] for name, count in split.labeled_counts.items()
    }
    if isinstance(labeled, str) and not labeled.isdigit():
        name = next((known for known in subsets if _plain(known) == _plain(labeled)), None)
        if name is None:
            raise unknown_name("labeled", labeled, subsets)
        return f"the published subset {name}", subsets[name]
    number = float(labeled) if isinstance(labeled, float) else int(labeled)
    count = round(number * len(split.training)) if isinstance(number, float) else number
    if not 0 < count <= len(split.training):
        raise InputError(
            "labeled", f"{labeled} asked of {len(split.training)} training images", "ask for fewer"
        )
    if not split.partitions:
        return f"the first {count} of the training list", split.training[:count]
    slack = 1 if isinstance(number, float) else 0  # published counts are rounded one way or the other
    sized = [name for name, cases in subsets.items() if abs(len(cases) - count) <= slack]
    if len(sized) != 1:
        known = ", ".join(f"{name} ({len(cases)})" for name, cases in subsets.items())
        fault = f"{len(sized) or 'no'} published subsets of {split.title} have {count} images"
        raise InputError("labeled", fault, f"name one: {known}")
    return f"the published subset {sized[0]}", subsets[sized[0]]


def _plain(name: str) -> str:
    return name.replace("/", "_")


def place_images(
    folder: Path,
    dataset: str,
    labeled: int | float | str | None,
    validation: int,
    allow_missing: bool,
) -> tuple[Split, dict[str, list[CaseFiles]], str]:
    """The files of each list of a published set of images, and how they were chosen.

    Args:
        folder: of the set.
        dataset: a key of :data:`IMAGE_SETS`.
        labeled: see :func:`labeled_cases`.
        validation: images taken from the end of the training list to choose the best checkpoint. The images
            of ``images/test`` are the test, and then 0 leaves the choice to the published validation list;
            without such a folder that list is the test, as in the publications, whose test images nobody has.
        allow_missing: go on with the part of the training list whose files exist.

    Raises:
        InputError: files are missing, or a subset cannot be had.
    """
    split = complete_split(read_split(IMAGE_SETS[dataset]), folder)
    files = image_files(folder)
    chosen, wanted = labeled_cases(split, labeled)
    missing = [case for case in split.training if case not in files]
    if missing and (not allow_missing or len(missing) == len(split.training)):
        raise InputError(
            folder,
            f"{len(missing)} of {len(split.training)} training images of {split.title} are missing "
            f"({name_some(missing)})",
            f"prepare it with scripts/prepare_{dataset}.py"
            + (", or pass allow_missing=True to use a part" if len(missing) < len(split.training) else ""),
        )
    is_labeled = set(wanted)
    rest = [case for case in split.training if case not in is_labeled]
    if not 0 <= validation <= len(rest):
        raise InputError("validation", f"{validation} images asked of {len(rest)}", "ask for fewer")
    held_out = rest[len(rest) - validation :]
    tested = [case for case in files if files[case].image.parent.name == "test"]
    places: dict[str, list[str]] = {
        "training": list(wanted),
        "unlabeled": rest[: len(rest) - validation],
        "validation": held_out or (list(split.validation) if tested else []),
        "test": tested or list(split.validation),
    }
    found = {name: [files[case] for case in cases if case in files] for name, cases in places.items()}
    if labeled is None:  # without a mask are those of SBD, where it was not given
        found["unlabeled"] += [case for case in found["training"] if case.label is None]
        found["training"] = [case for case in found["training"] if case.label is not None]
    for name in ("validation", "test"):
        found[name] = [case for case in found[name] if case.label is not None]
    notes = [f"labelled: {chosen}, {len(found['training'])} images"]
    if held_out:
        notes.append(f"validation: the last {len(held_out)} of the unlabelled ones")
    listed = len(split.validation)
    if tested and not held_out:
        notes.append(f"validation: {len(found['validation'])} of the {listed} published images")
    source = "images in images/test" if tested else f"of the {listed} published validation images"
    notes.append(f"test: the {len(found['test'])} {source}")
    if missing:
        notes.append(f"{len(missing)} training images missing")
    return split, found, "; ".join(notes)
