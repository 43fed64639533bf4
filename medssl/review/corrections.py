"""Reviewed corrections come back: corrected cases become labelled ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError
from medssl.common.files import write_text
from medssl.data import load_datalist
from medssl.data.lists.datalist import LISTS, with_split_hash
from medssl.review.kinds import KINDS
from medssl.review.triage import find_label, load_on_grid
from medssl.review.worklist import read_side_cars


def collect_corrections(
    review: str | Path, *, corrected: str | Path, datalist: str | Path, out: str | Path
) -> tuple[list[str], list[str]]:
    """Write a datalist in which corrected unlabelled cases are labelled.

    Every corrected file is opened and compared with the grid of its scan first. The datalist that was given
    is left as it is. Validation and test cases remain where they are: training on one would undo its purpose.

    Args:
        review: folder of ``medssl predict``.
        corrected: folder with ``<case>_seg.nii.gz`` or ``<case>.nii.gz``, of images ``.png``.
        datalist: the datalist whose unlabelled cases were predicted.
        out: the extended datalist.

    Returns:
        The cases that are labelled now, and corrected cases that remain where they are, since they are not in
        the unlabelled list.

    Raises:
        InputError: ``out`` is there already; no corrected file belongs to a reviewed case; a corrected file
            cannot be read, holds an unknown class, or lies on another grid.
    """
    out = Path(out)
    if out.exists():
        raise InputError(out, "exists already", "choose another name: nothing is overwritten")
    content = load_datalist(datalist)
    unlabeled = {item["case"]: item for item in content["unlabeled"]}
    labeled: list[dict[str, Any]] = []
    not_unlabeled = []
    side_cars = read_side_cars(review)
    for side_car in side_cars:
        label_file = find_label(Path(corrected), side_car["case"])
        if label_file is None:
            continue
        item = unlabeled.get(side_car["case"])
        if item is None:
            not_unlabeled.append(side_car["case"])
            continue
        _check(label_file, item, side_car)
        labeled.append({**item, "label": str(label_file.absolute())})
    if not labeled and not not_unlabeled:
        raise InputError(
            corrected, f"holds no file of the {len(side_cars)} reviewed cases", "name them <case>_seg.nii.gz"
        )
    corrected_cases = {item["case"] for item in labeled}
    extended: dict[str, Any] = {key: value for key, value in content.items() if key not in LISTS}
    extended |= {name: content[name] for name in LISTS}
    extended["training"] = [*content["training"], *labeled]
    extended["unlabeled"] = [item for item in content["unlabeled"] if item["case"] not in corrected_cases]
    extended["hidden_labels"] = {
        k: v for k, v in content.get("hidden_labels", {}).items() if k not in corrected_cases
    }
    extended["reviewed"] = sorted({*content.get("reviewed", []), *corrected_cases})
    extended = with_split_hash(extended)
    write_text(out, json.dumps(extended, indent=1, ensure_ascii=False) + "\n")
    return [item["case"] for item in labeled], not_unlabeled


def _check(file: Path, item: Mapping[str, Any], side_car: Mapping[str, Any]) -> None:
    image = item["image"]
    labels = load_on_grid(Path(image if isinstance(image, str) else image[0]), file)
    kind, classes = KINDS[len(side_car["shape"])], len(side_car["statistics"]["classes"])
    highest = int(labels.max(where=labels != IGNORE, initial=0))
    if highest >= kind.first_class + classes:
        remedy = f"use the classes of {kind.class_table}"
        raise InputError(file, f"holds class {highest}, the model has {classes}", remedy)
