"""Reviewed corrections come back: corrected cases become labelled ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError
from medssl.common.files import write_text
from medssl.data import load_datalist
from medssl.data.lists.datalist import LISTS, with_split_hash
from medssl.review.triage import find_label, load_on_grid
from medssl.review.worklist import read_side_cars


def collect_corrections(
    review: str | Path, *, corrected: str | Path, datalist: str | Path, out: str | Path
) -> tuple[list[str], list[str]]:
    """Write a datalist in which corrected unlabelled cases are labelled.

    Every corrected file is opened and compared with the grid of its scan first. The datalist that was given
    stays as it is. Validation and test cases stay where they are: training on one would undo its purpose.

    Args:
        review: folder of ``medssl predict``.
        corrected: folder with ``<case>_seg.nii.gz`` or ``<case>.nii.gz``.
        datalist: the datalist whose unlabelled cases were predicted.
        out: the new datalist.

    Returns:
        The cases that are labelled now, and corrected cases that stay where they are, since they are not in
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
    stay = []
    cars = read_side_cars(review)
    for car in cars:
        found = find_label(Path(corrected), car["case"])
        if found is None:
            continue
        item = unlabeled.get(car["case"])
        if item is None:
            stay.append(car["case"])
            continue
        _check(found, item, car)
        labeled.append({**item, "label": str(found.absolute())})
    if not labeled and not stay:
        raise InputError(
            corrected, f"holds no file of the {len(cars)} reviewed cases", "name them <case>_seg.nii.gz"
        )
    done = {item["case"] for item in labeled}
    new: dict[str, Any] = {key: value for key, value in content.items() if key not in LISTS}
    new |= {name: content[name] for name in LISTS}
    new["training"] = [*content["training"], *labeled]
    new["unlabeled"] = [item for item in content["unlabeled"] if item["case"] not in done]
    new["hidden_labels"] = {k: v for k, v in content.get("hidden_labels", {}).items() if k not in done}
    new["reviewed"] = sorted({*content.get("reviewed", []), *done})
    new = with_split_hash(new)
    write_text(out, json.dumps(new, indent=1, ensure_ascii=False) + "\n")
    return [item["case"] for item in labeled], stay


def _check(file: Path, item: Mapping[str, Any], car: Mapping[str, Any]) -> None:
    image = item["image"]
    labels = load_on_grid(Path(image if isinstance(image, str) else image[0]), file)
    classes = len(car["statistics"]["classes"])
    if int(labels.max()) > classes:
        raise InputError(
            file, f"holds class {int(labels.max())}, the model has {classes}", "use the classes of labels.txt"
        )
