"""One scan: predicted, measured, and written with all that a reviewer needs."""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray
from scipy import ndimage

from medssl import __version__
from medssl.common.errors import InputError
from medssl.common.files import write_text
from medssl.common.progress import Progress
from medssl.inference.predictor import Prediction, Predictor
from medssl.review.maps import write_like
from medssl.review.measurements import CaseMeasurements, measure_case
from medssl.review.names import ReviewNames
from medssl.review.picture import for_display, write_review_picture
from medssl.review.segmentations import is_sheared, write_dicom_seg, write_seg_nrrd
from medssl.review.segments import SegmentClass
from medssl.review.voxel_maps import VOXEL_MAPS, map_files
from medssl.review.worklist_page import RESEARCH_USE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackageOptions:
    """What goes into a review folder.

    Attributes:
        bids: name files as BIDS derivatives.
        keep_largest: classes of which only the largest connected component is kept.
        fill_holes: classes whose holes are filled.
        dicom_seg: write DICOM SEG for scans that are DICOM series.
        resume: go on with a folder: cases that are finished stay.
        overwrite: predict all cases anew.
    """

    bids: bool = False
    keep_largest: tuple[int, ...] = ()
    fill_holes: tuple[int, ...] = ()
    dicom_seg: bool = False
    resume: bool = False
    overwrite: bool = False


def review_case(
    item: Mapping[str, Any],
    names: ReviewNames,
    transform: Compose,
    predictor: Predictor,
    classes: Sequence[SegmentClass],
    model: Sequence[Mapping[str, str]],
    settings: Mapping[str, Any],
    options: PackageOptions,
) -> None:
    """Predict a scan and write its files, the side-car last: a case that has one is finished.

    Args:
        item: with ``case`` and ``image``, and whatever else the transforms need.
        names: of the files.
        transform: the preprocessing; its first transform loads the image.
        predictor: the model.
        classes: names and colours.
        model: for the side-car.
        settings: for the side-car.
        options: see :class:`PackageOptions`.

    Raises:
        InputError: the scan cannot be read.
    """
    began = time.perf_counter()
    case = str(item["case"])
    load, *preprocess = transform.transforms
    loaded = load(dict(item))
    image: MetaTensor = loaded["image"]
    affine = np.asarray(image.meta["original_affine"], np.float64)
    shape, source = tuple(image.shape[1:]), Path(image.meta["filename_or_obj"])
    grey_levels = for_display(image.as_tensor()[0].numpy())
    preprocessed = Compose(preprocess)(loaded)["image"]
    del loaded, image
    windows = predictor.windows(preprocessed.shape[1:])
    with Progress(windows, title=case, unit="window", inner=True) as progress:
        prediction = predictor(preprocessed, advance=progress.advance)
    del preprocessed
    prediction = replace(prediction, labels=clean_labels(prediction.labels, options))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    measurements = measure_case(prediction, spacing=spacing.tolist())
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
    volumes = [
        f"{c.name} {of_class.volume_ml:.1f} ml"
        for c, of_class in zip(classes, measurements.classes, strict=True)
    ]
    title = f"{case}    priority {measurements.priority:.2f}    {', '.join(volumes[:4])}"
    write_review_picture(
        picture, scan=grey_levels, prediction=prediction, affine=affine, classes=classes, title=title
    )
    side_car = {
        "kind": "medssl review",
        "case": case,
        "scan": str(source),
        "shape": list(shape),
        "spacing_mm": [round(float(value), 6) for value in spacing],
        "files": {
            kind: path.relative_to(names.folder).as_posix()
            for kind, path in {"picture": picture, **files}.items()
        },
        "formulas": {
            kind.name: kind.formulas[predictor.uncertainty]
            for kind in VOXEL_MAPS
            if predictor.uncertainty in kind.formulas
        },
        "statistics": _plain(measurements, classes),
        "warnings": warnings,
        "model": list(model),
        "settings": settings,
        "stored_as": str(prediction.confidence.dtype),
        "seconds": round(time.perf_counter() - began, 2),
        "medssl": __version__,
        "use": RESEARCH_USE,
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


def _write_maps(
    prediction: Prediction, case: str, names: ReviewNames, source: Path, affine: NDArray[np.float64]
) -> dict[str, Path]:
    paths = {}
    for file in map_files(prediction):
        path = paths[file.title] = names.path(file.name, case, label=file.label)
        write_like(path, file.values, reference_file=source, affine=affine, overwrite=True)
    return paths


def _plain(measurements: CaseMeasurements, classes: Sequence[SegmentClass]) -> dict[str, Any]:
    """For JSON, which has no NaN: null where a number is undefined."""
    content = asdict(measurements)
    content["classes"] = {c.name: asdict(s) for c, s in zip(classes, measurements.classes, strict=True)}

    def number(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: number(inner) for key, inner in value.items()}
        if isinstance(value, float):
            return None if math.isnan(value) else round(value, 6)
        return value

    plain: dict[str, Any] = number(content)
    return plain
