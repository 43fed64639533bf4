"""One scan, or image: predicted, measured, and written with all that a reviewer needs."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray
from scipy import ndimage

from medssl import __version__
from medssl.common.files import write_text
from medssl.common.progress import Progress
from medssl.inference.predictor import Predictor
from medssl.review.kinds import ReviewedCase
from medssl.review.measurements import CaseMeasurements
from medssl.review.names import ReviewNames
from medssl.review.options import PackageOptions
from medssl.review.promises import Promises
from medssl.review.segmentations import is_sheared
from medssl.review.segments import SegmentClass
from medssl.review.voxel_maps import VOXEL_MAPS, map_files


def review_case(
    item: Mapping[str, Any],
    names: ReviewNames,
    transform: Compose,
    predictor: Predictor,
    classes: Sequence[SegmentClass],
    model: Sequence[Mapping[str, str]],
    settings: Mapping[str, Any],
    options: PackageOptions,
    promises: Promises | None = None,
) -> None:
    """Predict a scan, or image, and write its files, the side-car last: a case that has one is finished.

    Args:
        item: with ``case`` and ``image``, and whatever else the transforms need.
        names: of the files; they know what kind of review it is.
        transform: the preprocessing; its first transform loads the image.
        predictor: the model.
        classes: names and colours.
        model: for the side-car.
        settings: for the side-car.
        options: see :class:`PackageOptions`.
        promises: that hold for predictions with these settings; None for none.

    Raises:
        InputError: the file cannot be read.
    """
    began, kind = time.perf_counter(), names.kind
    case = str(item["case"])
    load, *preprocess = transform.transforms
    loaded = load(dict(item))
    image: MetaTensor = loaded["image"]
    affine = np.asarray(image.meta["original_affine"], np.float64)
    shape, source = tuple(image.shape[1:]), Path(image.meta["filename_or_obj"])
    shown = kind.shown(image)
    preprocessed = Compose(preprocess)(loaded)["image"]
    del loaded, image
    windows = predictor.windows(preprocessed.shape[1:])
    with Progress(windows, title=case, unit="window", inner=True) as progress:
        prediction = predictor(preprocessed, advance=progress.advance)
    del preprocessed
    prediction = replace(prediction, labels=clean_labels(prediction.labels, options))
    measurements = kind.measure(prediction, affine)
    promised: dict[str, dict[str, float]] = {}
    warnings: list[str] = []
    if promises is not None:
        spacing = np.linalg.norm(affine[:3, :3], axis=0).tolist()
        sheared = is_sheared(affine)
        bands = {} if sheared else promises.bands(prediction, spacing)
        warnings += ["the scan's axes are not perpendicular: no band in mm"] * sheared
        promised = promises.measured(prediction, bands, spacing)
        prediction = replace(prediction, bands=bands)
    maps = {}
    for file in map_files(prediction):
        path = maps[file.title] = names.path(file.name, case, label=file.label)
        kind.write_map(path, file, source=source, affine=affine, classes=classes)
    reviewed = ReviewedCase(case, source, affine, shown, prediction, measurements, classes)
    others = kind.write_others(reviewed, names.of(case), options)
    files = maps | others.files
    first = {name: files.pop(name) for name in kind.words.pictures}
    side_car = {
        "kind": "medssl review",
        "case": case,
        "scan": str(source),
        "shape": list(shape),
        "files": {
            name: path.relative_to(names.folder).as_posix() for name, path in {**first, **files}.items()
        },
        "formulas": {
            entry.name: entry.formulas[predictor.uncertainty]
            for entry in VOXEL_MAPS
            if predictor.uncertainty in entry.formulas
        },
        "statistics": _plain(measurements, classes, promised),
        **({"promises": promises.plain()} if promises is not None else {}),
        "warnings": warnings + others.warnings,
        "model": list(model),
        "settings": settings,
        "stored_as": str(prediction.confidence.dtype),
        "seconds": round(time.perf_counter() - began, 2),
        "medssl": __version__,
        **kind.facts(affine),
    }
    write_text(names.path("side-car", case), json.dumps(side_car, indent=2, allow_nan=False) + "\n")


def clean_labels(labels: NDArray[Any], options: PackageOptions) -> NDArray[Any]:
    """The largest component (26 neighbours) and no holes, of the classes that ask for it.

    With scipy: MONAI's ``KeepLargestConnectedComponent`` needs scikit-image. A hole is background that the
    class encloses.
    """
    cleaned = labels.copy()
    for label in options.keep_largest:
        components, count = ndimage.label(cleaned == label, np.ones((3, 3, 3)))
        if count > 1:
            sizes = np.bincount(components.ravel())
            sizes[0] = 0
            cleaned[(components > 0) & (components != sizes.argmax())] = 0
    for label in options.fill_holes:
        filled = ndimage.binary_fill_holes(cleaned == label)
        cleaned[filled & (cleaned == 0)] = label
    return cleaned


def _plain(
    measurements: CaseMeasurements,
    classes: Sequence[SegmentClass],
    promised: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """For JSON, which has no NaN: null where a number is undefined."""
    content = asdict(measurements)
    of_classes = zip(classes, measurements.classes, strict=True)
    content["classes"] = {c.name: asdict(s) | dict(promised.get(c.name, {})) for c, s in of_classes}

    def number(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: number(inner) for key, inner in value.items()}
        if isinstance(value, float):
            return None if math.isnan(value) else round(value, 6)
        return value

    plain: dict[str, Any] = number(content)
    return plain
