"""From a folder of scans to a folder that a clinician can review."""

import hashlib
import importlib.util
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn
from tqdm import tqdm

from medssl import __version__
from medssl.engines.predictor import FORMULAS, Prediction, Predictor
from medssl.errors import InputError, find_input_error
from medssl.files import write_text
from medssl.review.maps import write_like
from medssl.review.names import ReviewNames
from medssl.review.page import RESEARCH_USE, write_index
from medssl.review.picture import for_display, write_review_picture
from medssl.review.segmentations import is_sheared, write_dicom_seg, write_seg_nrrd
from medssl.review.statistics import CaseStatistics, case_statistics
from medssl.review.tables import SegmentClass, segment_classes, write_label_tables
from medssl.review.worklist import read_side_cars, worklist_rows, write_worklist

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackageOptions:
    """How a review folder is made.

    Attributes:
        bids: name files as BIDS derivatives.
        keep_largest: classes of which only the largest connected component is kept.
        fill_holes: classes whose holes are filled.
        dicom_seg: write DICOM SEG for scans that are DICOM series.
        resume: go on with a folder: cases that are finished stay.
        overwrite: make all cases anew.
    """

    bids: bool = False
    keep_largest: tuple[int, ...] = ()
    fill_holes: tuple[int, ...] = ()
    dicom_seg: bool = False
    resume: bool = False
    overwrite: bool = False


@dataclass
class PackageResult:
    """What came of it.

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


def model_record(checkpoints: Sequence[str | Path]) -> list[dict[str, str]]:
    """Name and SHA-256 of every checkpoint."""
    record = []
    for path in map(Path, checkpoints):
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        record.append({"file": path.name, "run": path.absolute().parent.name, "sha256": digest})
    return record


def write_review_package(
    out: str | Path,
    *,
    items: Sequence[Mapping[str, Any]],
    transform: Compose,
    predictor: Predictor,
    classes: Sequence[SegmentClass],
    model: Sequence[Mapping[str, str]],
    options: PackageOptions | None = None,
) -> PackageResult:
    """Predict every scan and write all that a reviewer needs.

    For each case a segmentation, its confidence and uncertainty in the geometry of the scan, a picture and a
    side-car; for the whole ``worklist.csv``, ``index.html`` and label tables. A scan that cannot be
    predicted is reported and does not stop the others. A case's side-car is written last: a case that has
    one is finished.

    Args:
        out: the folder; made where it is missing.
        items: with ``case`` and ``image``, and whatever else the transforms need.
        transform: the preprocessing; its first transform loads the image.
        predictor: the model.
        classes: names and colours of the segmented classes.
        model: of :func:`model_record`.
        options: see :class:`PackageOptions`.

    Raises:
        InputError: nothing to predict; two cases of one name; the folder holds cases already and neither
            ``resume`` nor ``overwrite`` was asked for, or they are another model's; a class that there
            is not.
    """
    options = options or PackageOptions()
    names = ReviewNames(out, bids=options.bids)
    settings = _settings(predictor, transform, options)
    _check(names, items, classes, model, settings, options)
    names.folder.mkdir(parents=True, exist_ok=True)
    names.describe()
    write_label_tables(names.folder, classes)
    result = PackageResult(names.folder)
    with tqdm(total=len(items), desc="scans", unit="scan") as bar:
        for item in items:
            case = str(item["case"])
            if options.resume and names.path("side-car", case).exists():
                result.skipped.append(case)
            else:
                try:
                    _one_case(item, names, transform, predictor, classes, model, settings, options)
                    result.predicted.append(case)
                except Exception as error:
                    found = find_input_error(error)
                    if found is None:
                        raise
                    result.failed[case] = str(found)
                    logger.error("%s", found)
            bar.update()
    write_overview(names, failed=result.failed)
    return result


def write_overview(names: ReviewNames, *, failed: Mapping[str, str] | None = None) -> None:
    """Write ``worklist.csv`` and ``index.html`` from what lies in the folder."""
    try:
        cars = read_side_cars(names.folder)
    except InputError:
        if not failed:
            raise
        cars = []
    rows = worklist_rows(cars, failed)
    write_worklist(names.folder / "worklist.csv", rows)
    about = "No scan could be predicted."
    if cars:
        model = cars[0]["model"]
        members = ", ".join(f"{m['run']}/{m['file']} ({m['sha256'][:8]})" for m in model)
        about = f"medssl {cars[0]['medssl']}; model: {members}."
    files = {car["case"]: car["files"] for car in cars}
    write_index(names.folder / "index.html", rows, files=files, about=about)


def _check(
    names: ReviewNames,
    items: Sequence[Mapping[str, Any]],
    classes: Sequence[SegmentClass],
    model: Sequence[Mapping[str, str]],
    settings: Mapping[str, Any],
    options: PackageOptions,
) -> None:
    if not items:
        raise InputError("input", "holds no scan", "name a folder with scans")
    names.check([str(item["case"]) for item in items])
    known = {found.label for found in classes}
    for label in (*options.keep_largest, *options.fill_holes):
        if label not in known:
            raise InputError(f"class {label}", "the model does not have it", f"choose among {sorted(known)}")
    if options.dicom_seg and importlib.util.find_spec("highdicom") is None:
        raise InputError(
            "DICOM SEG", "needs highdicom, which is not installed", "pip install 'medssl[dicom]'"
        )
    if options.resume and options.overwrite:
        raise InputError(names.folder, "both resume and overwrite", "choose one of them")
    there = [item for item in items if names.path("side-car", str(item["case"])).exists()]
    if there and not (options.resume or options.overwrite):
        raise InputError(
            names.folder,
            f"holds {len(there)} of these cases already",
            "add --resume to go on, --overwrite to make them anew, or choose another folder",
        )
    if there and options.resume:
        path = names.path("side-car", str(there[0]["case"]))
        car = json.loads(path.read_text(encoding="utf-8"))
        if car["model"] != list(model) or car["settings"] != settings:
            raise InputError(
                path, "was made by another model or with other settings", "resume with those, or --overwrite"
            )


def _one_case(
    item: Mapping[str, Any],
    names: ReviewNames,
    transform: Compose,
    predictor: Predictor,
    classes: Sequence[SegmentClass],
    model: Sequence[Mapping[str, str]],
    settings: Mapping[str, Any],
    options: PackageOptions,
) -> None:
    began = time.perf_counter()
    case = str(item["case"])
    load, *rest = transform.transforms
    loaded = load(dict(item))
    image: MetaTensor = loaded["image"]
    affine = np.asarray(image.meta["original_affine"], np.float64)
    shape, source = tuple(image.shape[1:]), Path(image.meta["filename_or_obj"])
    shown = for_display(image.as_tensor()[0].numpy())
    ready = Compose(rest)(loaded)["image"]
    del loaded, image
    windows = predictor.windows(ready.shape[1:])
    with tqdm(total=windows, desc=case, unit="window", leave=False) as bar:
        prediction = predictor(ready, scan_affine=affine, shape=shape, advance=bar.update)
    del ready
    prediction = replace(prediction, labels=clean_labels(prediction.labels, options))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    statistics = case_statistics(prediction, spacing=spacing.tolist())
    warnings = []
    if is_sheared(affine):
        warnings.append("the scan's axes are not perpendicular: viewers may show it distorted; no .seg.nrrd")
        logger.warning("%s: %s", source, warnings[-1])
    series = source if source.is_dir() else source.parent if source.suffix.lower() == ".dcm" else None
    files = _write_maps(prediction, case, names, source, affine)
    if not is_sheared(affine):
        path = names.path("slicer", case)
        write_seg_nrrd(path, prediction.labels, affine=affine, classes=classes)
        files["3D Slicer"] = path
    if options.dicom_seg and series is not None:
        path = names.path("dicom", case)
        try:
            if write_dicom_seg(path, prediction.labels, series=series, affine=affine, classes=classes):
                files["DICOM SEG"] = path
            else:
                warnings.append("nothing was predicted: no DICOM SEG")
        except InputError as error:  # the other files of the case are of use without it
            warnings.append(str(error))
            logger.warning("%s", error)
    picture = names.path("picture", case)
    volumes = [f"{c.name} {s.volume_ml:.1f} ml" for c, s in zip(classes, statistics.classes, strict=True)]
    title = f"{case}    priority {statistics.priority:.2f}    {', '.join(volumes[:4])}"
    write_review_picture(
        picture, scan=shown, prediction=prediction, affine=affine, classes=classes, title=title
    )
    car = {
        "kind": "medssl review",
        "case": case,
        "scan": str(source),
        "shape": list(shape),
        "spacing_mm": [round(float(value), 6) for value in spacing],
        "files": {
            kind: path.relative_to(names.folder).as_posix()
            for kind, path in {"picture": picture, **files}.items()
        },
        "formulas": _formulas(predictor),
        "statistics": _plain(statistics, classes),
        "warnings": warnings,
        "model": list(model),
        "settings": settings,
        "stored_as": str(prediction.confidence.dtype),
        "seconds": round(time.perf_counter() - began, 2),
        "medssl": __version__,
        "use": RESEARCH_USE,
    }
    write_text(names.path("side-car", case), json.dumps(car, indent=2, allow_nan=False) + "\n")


def clean_labels(labels: NDArray[Any], options: PackageOptions) -> NDArray[Any]:
    """The largest component (26 neighbours) and no holes, of the classes that ask for it.

    With scipy: MONAI's ``KeepLargestConnectedComponent`` needs scikit-image. A hole is background that the
    class encloses.
    """
    cleaned = labels.copy()
    for label in options.keep_largest:
        pieces, count = ndimage.label(cleaned == label, np.ones((3, 3, 3)))
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            cleaned[(pieces > 0) & (pieces != sizes.argmax())] = 0
    for label in options.fill_holes:
        filled = ndimage.binary_fill_holes(cleaned == label)
        cleaned[filled & (cleaned == 0)] = label
    return cleaned


def _write_maps(
    prediction: Prediction, case: str, names: ReviewNames, source: Path, affine: NDArray[np.float64]
) -> dict[str, Path]:
    maps: dict[str, tuple[Path, NDArray[Any]]] = {
        "segmentation": (names.path("segmentation", case), prediction.labels),
        "confidence": (names.path("confidence", case), prediction.confidence),
        "uncertainty": (names.path("uncertainty", case), prediction.uncertainty),
    }
    if prediction.disagreement is not None:
        maps["disagreement"] = (names.path("disagreement", case), prediction.disagreement)
    if prediction.probabilities is not None:
        for label, values in enumerate(prediction.probabilities):
            maps[f"probability {label}"] = (names.path("probability", case, label=label), values)
    for kind, (path, values) in maps.items():
        array = values if kind == "segmentation" else values.astype(np.float32)
        write_like(path, array, reference_file=source, affine=affine, overwrite=True)
    return {kind: path for kind, (path, _) in maps.items()}


def _settings(predictor: Predictor, transform: Compose, options: PackageOptions) -> dict[str, Any]:
    return {
        "preprocessing": [type(step).__name__ for step in transform.transforms],
        "patch": list(predictor.patch),
        "stride": list(predictor.stride),
        "window_weights": predictor.weights,
        "flips": [[axis - 2 for axis in axes] for axes in predictor.flips[1:]],
        "uncertainty": predictor.uncertainty,
        "temperature": predictor.temperature,
        "amp": predictor.amp,
        "keep_largest": list(options.keep_largest),
        "fill_holes": list(options.fill_holes),
    }


def _formulas(predictor: Predictor) -> dict[str, str]:
    formulas = {name: FORMULAS[name] for name in ("confidence", "uncertainty")}
    if predictor.uncertainty != "entropy":
        formulas["disagreement"] = FORMULAS[predictor.uncertainty]
    return formulas


def _plain(statistics: CaseStatistics, classes: Sequence[SegmentClass]) -> dict[str, Any]:
    """For JSON, which has no NaN: null where a number is undefined."""
    content = asdict(statistics)
    content["classes"] = {c.name: asdict(s) for c, s in zip(classes, statistics.classes, strict=True)}

    def number(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: number(inner) for key, inner in value.items()}
        if isinstance(value, float):
            return None if math.isnan(value) else round(value, 6)
        return value

    plain: dict[str, Any] = number(content)
    return plain


def run_package(
    out: str | Path,
    *,
    items: Sequence[Mapping[str, Any]],
    transform: Compose,
    network: nn.Module,
    checkpoint: str | Path,
    num_classes: int,
    patch: Sequence[int],
    stride: Sequence[int],
    amp: Literal["off", "bf16"] = "off",
    channels_last: bool = True,
    class_names: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
) -> PackageResult:
    """:func:`write_review_package` from a bundle's settings, for ``inference.yaml``.

    Raises:
        InputError: after all other scans are done, if one could not be predicted.
    """
    predictor = Predictor(
        [network],
        num_classes=num_classes,
        patch=patch,
        stride=stride,
        amp=amp,
        channels_last=channels_last,
        device=device,
    )
    result = write_review_package(
        out,
        items=items,
        transform=transform,
        predictor=predictor,
        classes=segment_classes(num_classes, dict(enumerate(class_names or [], 1))),
        model=model_record([checkpoint]),
        options=PackageOptions(resume=resume, overwrite=overwrite),
    )
    if result.failed:
        case, message = next(iter(result.failed.items()))
        raise InputError(
            f"{len(result.failed)} of {len(items)} scans", f"failed, {case} first ({message})", "see the log"
        )
    return result
