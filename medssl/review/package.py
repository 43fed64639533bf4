"""From a folder of scans, or images, to a folder that a person can review."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.transforms import Compose

from medssl.common.errors import InputError, find_input_error
from medssl.common.progress import track
from medssl.inference.checkpoints import model_record
from medssl.inference.predictor import Predictor
from medssl.review.case import review_case
from medssl.review.kinds import KINDS
from medssl.review.names import ReviewNames
from medssl.review.options import PackageOptions
from medssl.review.promise_words import promise_words
from medssl.review.promises import Promises, promises_for, promises_from, stored_promises
from medssl.review.segments import SegmentClass
from medssl.review.settings import prediction_settings
from medssl.review.worklist import read_side_cars, worklist_rows, write_worklist
from medssl.review.worklist_page import write_index

logger = logging.getLogger(__name__)


@dataclass
class PackageResult:
    """What became of the scans.

    Attributes:
        folder: the review folder.
        predicted: cases that were predicted now.
        skipped: cases that had been finished before.
        failed: cases that could not be, with the reason.
    """

    folder: Path
    predicted: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def write_review_package(
    out: str | Path,
    *,
    items: Sequence[Mapping[str, Any]],
    transform: Compose,
    predictor: Predictor,
    classes: Sequence[SegmentClass],
    model: Sequence[Mapping[str, str]],
    options: PackageOptions | None = None,
    promises: Promises | None = None,
) -> PackageResult:
    """Predict every scan, or image, and write all that a reviewer needs.

    For each case a segmentation, its confidence and uncertainty in the geometry of the scan, or on the pixels
    of the image (:mod:`medssl.review.kinds`), a picture and a side-car; for the whole ``worklist.csv``,
    ``index.html`` and tables of the classes. The predictor's windows say of which kind the files are. One
    that cannot be predicted is reported and does not stop the others. A case's side-car is written last: a
    case that has one is finished.

    Args:
        out: the folder; made where it is missing.
        items: with ``case`` and ``image``, and whatever else the transforms need.
        transform: the preprocessing; its first transform loads the image.
        predictor: the model.
        classes: names and colours of the segmented classes.
        model: of :func:`medssl.inference.checkpoints.model_record`.
        options: see :class:`PackageOptions`.
        promises: of :func:`medssl.review.promises.stored_promises`; they are made of no prediction that has
            other settings, which is logged.

    Raises:
        InputError: nothing to predict; two cases of one name; the folder holds cases already and neither
            ``resume`` nor ``overwrite`` was asked for, or they are another model's; a class that the
            model does not have, or an option that is for scans and not for images.
    """
    options = options or PackageOptions()
    kind = KINDS[len(predictor.patch)]
    kind.check(options)
    names = ReviewNames(out, bids=options.bids, kind=kind)
    settings = prediction_settings(predictor, transform, options)
    promises = promises_for(promises, settings)
    _check(names, items, classes, model, settings, promises, options)
    names.folder.mkdir(parents=True, exist_ok=True)
    names.describe()
    kind.write_tables(names.folder, classes)
    result = PackageResult(names.folder)
    for item in track(items, len(items), title="prediction", unit=kind.noun):
        case = str(item["case"])
        if options.resume and names.path("side-car", case).exists():
            result.skipped.append(case)
            continue
        try:
            review_case(item, names, transform, predictor, classes, model, settings, options, promises)
            result.predicted.append(case)
        except Exception as error:
            input_error = find_input_error(error)
            if input_error is None:
                raise
            result.failed[case] = str(input_error)
            logger.error("%s", input_error)
    write_overview(names, failed=result.failed, classes=classes)
    return result


def write_overview(
    names: ReviewNames, *, failed: Mapping[str, str] | None = None, classes: Sequence[SegmentClass] = ()
) -> None:
    """Write ``worklist.csv`` and ``index.html`` from what lies in the folder."""
    try:
        side_cars = read_side_cars(names.folder)
    except InputError:
        if not failed:
            raise
        side_cars = []
    rows = worklist_rows(side_cars, failed)
    write_worklist(names.folder / "worklist.csv", rows)
    about = f"No {names.kind.noun} could be predicted."
    if side_cars:
        model = side_cars[0]["model"]
        members = ", ".join(f"{m['run']}/{m['file']} ({m['sha256'][:8]})" for m in model)
        about = f"medssl {side_cars[0]['medssl']}; model: {members}."
    files = {side_car["case"]: side_car["files"] for side_car in side_cars}
    index, words = names.folder / "index.html", names.kind.words
    promised = next((side_car["promises"] for side_car in side_cars if "promises" in side_car), None)
    notes = [] if promised is None else promise_words(promises_from(promised, where=names.folder))
    write_index(index, rows, files=files, about=about, words=words, notes=notes, classes=classes)


def _check(
    names: ReviewNames,
    items: Sequence[Mapping[str, Any]],
    classes: Sequence[SegmentClass],
    model: Sequence[Mapping[str, str]],
    settings: Mapping[str, Any],
    promises: Promises | None,
    options: PackageOptions,
) -> None:
    if not items:
        noun = names.kind.noun
        raise InputError("input", f"holds no {noun}", f"name a folder with {noun}s")
    names.check([str(item["case"]) for item in items])
    known = {segment.label for segment in classes}
    for label in (*options.keep_largest, *options.fill_holes):
        if label not in known:
            raise InputError(f"class {label}", "the model does not have it", f"choose among {sorted(known)}")
    if options.resume and options.overwrite:
        raise InputError(names.folder, "both resume and overwrite", "choose one of them")
    finished = [item for item in items if names.path("side-car", str(item["case"])).exists()]
    if finished and not (options.resume or options.overwrite):
        raise InputError(
            names.folder,
            f"holds {len(finished)} of these cases already",
            "add --resume to go on, --overwrite to make them anew, or choose another folder",
        )
    if finished and options.resume:
        path = names.path("side-car", str(finished[0]["case"]))
        side_car = json.loads(path.read_text(encoding="utf-8"))
        promised = None if promises is None else json.loads(json.dumps(promises.plain()))
        if side_car["model"] != list(model) or side_car["settings"] != settings:
            raise InputError(
                path, "was made by another model or with other settings", "resume with those, or --overwrite"
            )
        if side_car.get("promises") != promised:
            raise InputError(
                path, "was made with another calibration", "make all cases anew with --overwrite"
            )


def run_package(
    out: str | Path,
    *,
    items: Sequence[Mapping[str, Any]],
    transform: Compose,
    predictor: Predictor,
    checkpoint: str | Path,
    class_names: Sequence[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> PackageResult:
    """:func:`write_review_package` from a bundle's settings, for ``inference.yaml``.

    Raises:
        InputError: after all other scans are done, if one could not be predicted.
    """
    kind = KINDS[len(predictor.patch)]
    result = write_review_package(
        out,
        items=items,
        transform=transform,
        predictor=predictor,
        classes=kind.classes(predictor.num_classes, class_names or ()),
        model=model_record([checkpoint]),
        options=PackageOptions(resume=resume, overwrite=overwrite),
        promises=stored_promises(checkpoint),
    )
    if result.failed:
        case, message = next(iter(result.failed.items()))
        raise InputError(
            f"{len(result.failed)} of {len(items)} {kind.noun}s",
            f"failed, {case} first ({message})",
            "see the log",
        )
    return result
