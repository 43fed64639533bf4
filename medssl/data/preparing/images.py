"""What the scripts that prepare VOC, Cityscapes, COCO, ADE20K and CamVid share."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError
from medssl.common.files import write_text
from medssl.data.lists.datalist import build_datalist
from medssl.data.lists.image_sets import IMAGE_SETS, labeled_cases
from medssl.data.lists.layout import name_some
from medssl.data.lists.published_splits import read_split
from medssl.data.preparing.forms import PreparedImage, image_form
from medssl.data.preparing.prepare import (
    Outcome,
    Recipe,
    Sources,
    load_case,
    parser_for,
    prepare_set,
    run_script,
)

Ids = NDArray[np.uint8]


def parser_for_images(description: str | None, *, source: str) -> argparse.ArgumentParser:
    """The options that these scripts share; ``source`` says what the first argument is."""
    parser = parser_for(description)
    parser.add_argument("source", type=Path, help=source)
    parser.add_argument("out", type=Path, help="folder of the prepared set")
    parser.add_argument(
        "--labeled",
        metavar="NAME",
        help="also write OUT/datalist_NAME.json: the subset of this name or size is labelled, such as 1/16",
    )
    return parser


def prepare_images(
    dataset: str,
    out: Path,
    sources: Sources,
    convert: Callable[[Mapping[str, str]], PreparedImage],
    *,
    suffix: str,
    jobs: int,
    overwrite: bool,
    settings: Mapping[str, Any] | None = None,
) -> Outcome:
    """Link the images, write their masks.

    Args:
        dataset: a key of :data:`medssl.data.lists.image_sets.IMAGE_SETS`.
        out: the folder.
        sources: ``image`` (a file) and, where labelled, ``label`` (what ``convert`` reads), by case.
        convert: see :func:`medssl.data.preparing.prepare.prepare_set`.
        suffix: of the images.
        jobs: processes.
        overwrite: replace a set that was made with other settings.
        settings: what changes the files.

    Raises:
        InputError: as :func:`medssl.data.preparing.prepare.prepare_set`.
    """
    classes = read_split(IMAGE_SETS[dataset]).classes
    recipe = Recipe(dataset, classes, {"recipe": 1, **(settings or {})})
    return prepare_set(out, sources, convert, recipe, form=image_form(suffix), jobs=jobs, overwrite=overwrite)


def run_image_script(prepare: Callable[[], Outcome], *, dataset: str, out: Path, labeled: str | None) -> int:
    """Prepare, say what came of it, and write the datalist that was asked for.

    Returns:
        The exit status, as :func:`medssl.data.preparing.prepare.run_script`.
    """
    wanted = int(labeled) if labeled is not None and labeled.isdigit() else labeled
    split = read_split(IMAGE_SETS[dataset])
    try:
        if split.training:  # before hours of work
            labeled_cases(split, wanted)
        status = run_script(prepare)
        if labeled is None or status not in (0, 1):
            return status
        datalist = build_datalist(
            out, dataset=dataset, labeled=wanted, allow_missing=True, require_unlabeled=False
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = out / f"datalist_{labeled.replace('/', '_')}.json"
    write_text(path, json.dumps(datalist, indent=1, ensure_ascii=False) + "\n")
    print(f"{path}: {datalist['selection']}")
    return status


def need_folder(folder: Path, remedy: str) -> Path:
    """The folder, refused where there is none."""
    if not folder.is_dir():
        raise InputError(folder, "no such folder", remedy)
    return folder


def named(files: Sequence[Path], *, ending: str = "") -> dict[str, Path]:
    """Files by what stands before an ending (their suffix by default).

    Raises:
        InputError: two of them share a name.
    """
    by_name: dict[str, Path] = {}
    for file in files:
        name = file.name.removesuffix(ending) if ending else file.stem
        if name in by_name:
            raise InputError(file, f"bears the name of {by_name[name]}", "keep one of the two")
        by_name[name] = file
    return by_name


def mapped(parts: Mapping[str, str], table: Mapping[int, int], *, expected: str) -> PreparedImage:
    """A case whose stored ids stand for class ids.

    Args:
        parts: files ``image`` and, where labelled, ``label``.
        table: class id by stored id, 255 for what is not to be learnt; 255 itself stays.
        expected: the stored ids in words.

    Raises:
        InputError: a damaged file, a mask of another size than its image, or an id that the table lacks.
    """
    _, label = load_case(parts)
    if label is None:
        return PreparedImage(Path(parts["image"]), None)
    stored = label.numpy()[0]
    of_byte = np.full(256, -1)
    of_byte[IGNORE] = IGNORE
    for old, new in table.items():
        of_byte[old] = new
    ids = np.unique(stored)
    strange = [int(k) for k in ids if not 0 <= k <= 255 or of_byte[k] < 0]
    if strange:
        fault = f"holds the ids {name_some(map(str, strange))}"
        raise InputError(parts["label"], fault, f"expected {expected}")
    return PreparedImage(Path(parts["image"]), of_byte[stored].astype(np.uint8))


def sound_image(parts: Mapping[str, str]) -> Path:
    """The file of a case's image, which can be read wholly.

    Raises:
        InputError: it cannot.
    """
    load_case({"image": parts["image"]})
    return Path(parts["image"])
