"""The review of scans: volumes in the geometry of the scan, for ITK-SNAP, 3D Slicer and DICOM viewers."""

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from medssl.common.errors import InputError
from medssl.inference.predictor import Prediction
from medssl.review.kinds.base import PageWords, ReviewedCase, ReviewKind, Written
from medssl.review.measurements import CaseMeasurements, measure_case
from medssl.review.nifti_maps import write_like
from medssl.review.options import PackageOptions
from medssl.review.picture import for_display, write_review_picture
from medssl.review.segmentations import is_sheared, write_dicom_seg, write_seg_nrrd
from medssl.review.segments import SegmentClass, segment_classes, write_label_tables
from medssl.review.voxel_maps import VOXEL_MAPS, MapFile

RESEARCH_USE = (
    "For research use only. Not a medical device; not for diagnosis or treatment. "
    "Every segmentation must be reviewed by a qualified person."
)

_BIDS_START = "sub-{subject}/anat/sub-{subject}"

logger = logging.getLogger(__name__)


class Scans(ReviewKind):
    """Of volumes, class 0 being background."""

    axes = 3
    noun = "scan"
    first_class = 1
    empty_counts = True
    flat = {kind.name: f"{{case}}_{kind.suffix}.nii.gz" for kind in VOXEL_MAPS} | {
        "slicer": "{case}.seg.nrrd",
        "dicom": "{case}_seg.dcm",
        "picture": "{case}_review.png",
        "side-car": "{case}.json",
    }
    # As BIDS names derivatives: labels, probabilities, and other maps by the statistic that they hold.
    bids = {kind.name: f"{_BIDS_START}_{kind.bids}.nii.gz" for kind in VOXEL_MAPS} | {
        "slicer": f"{_BIDS_START}_desc-medssl_dseg.seg.nrrd",
        "dicom": f"{_BIDS_START}_desc-medssl_dseg.dcm",
        "picture": f"{_BIDS_START}_desc-medssl_review.png",
        "side-car": f"{_BIDS_START}_desc-medssl_dseg.json",
    }
    class_table = "labels.txt"
    words = PageWords(
        pictures=("picture",),
        alt="three planes of",
        tools="open segmentations in ITK-SNAP (labels.txt) or 3D Slicer (labels.ctbl)",
        use=RESEARCH_USE,
    )

    def check(self, options: PackageOptions) -> None:
        """Refuse DICOM SEG without the package that writes it."""
        if options.dicom_seg and importlib.util.find_spec("highdicom") is None:
            raise InputError(
                "DICOM SEG", "needs highdicom, which is not installed", "pip install 'medssl[dicom]'"
            )

    def classes(self, num_classes: int, names: Sequence[str]) -> tuple[SegmentClass, ...]:
        """All but the background; the names are of class 1, 2 and so on."""
        return segment_classes(num_classes, dict(enumerate(names, 1)))

    def write_tables(self, folder: Path, classes: Sequence[SegmentClass]) -> None:
        """Write ``labels.txt`` and ``labels.ctbl``."""
        write_label_tables(folder, classes)

    def shown(self, image: MetaTensor) -> NDArray[np.uint8]:
        """Grey levels ``(X, Y, Z)`` of the first channel."""
        return for_display(image.as_tensor()[0].numpy())

    def measure(self, prediction: Prediction, affine: NDArray[np.float64]) -> CaseMeasurements:
        """See :func:`~medssl.review.measurements.measure_case`."""
        return measure_case(prediction, spacing=np.linalg.norm(affine[:3, :3], axis=0).tolist())

    def write_map(
        self,
        path: Path,
        file: MapFile,
        *,
        source: Path,
        affine: NDArray[np.float64],
        classes: Sequence[SegmentClass],
    ) -> None:
        """Write NIfTI: see :func:`~medssl.review.nifti_maps.write_like`."""
        write_like(path, file.values, reference_file=source, affine=affine, overwrite=True)

    def write_others(
        self, reviewed: ReviewedCase, paths: Mapping[str, Path], options: PackageOptions
    ) -> Written:
        """The segmentation for 3D Slicer, DICOM SEG where it is asked for, and the picture."""
        written, source, affine = Written(), reviewed.source, reviewed.affine
        labels, classes = reviewed.prediction.labels, reviewed.classes
        if is_sheared(affine):
            warning = "the scan's axes are not perpendicular: viewers may show it distorted; no .seg.nrrd"
            written.warnings.append(warning)
            logger.warning("%s: %s", source, warning)
        else:
            write_seg_nrrd(paths["slicer"], labels, affine=affine, classes=classes)
            written.files["3D Slicer"] = paths["slicer"]
        series = source if source.is_dir() else source.parent if source.suffix.lower() == ".dcm" else None
        if options.dicom_seg and series is not None:
            path = paths["dicom"]
            try:
                if write_dicom_seg(path, labels, series=series, affine=affine, classes=classes):
                    written.files["DICOM SEG"] = path
                else:
                    written.warnings.append("nothing was predicted: no DICOM SEG")
            except InputError as error:  # the other files of the case are of use without it
                written.warnings.append(str(error))
                logger.warning("%s", error)
        of_classes = zip(classes, reviewed.measurements.classes, strict=True)
        volumes = [f"{c.name} {measured.volume_ml:.1f} ml" for c, measured in of_classes]
        priority = f"priority {reviewed.measurements.priority:.2f}"
        write_review_picture(
            paths["picture"],
            scan=reviewed.shown,
            prediction=reviewed.prediction,
            affine=affine,
            classes=classes,
            title=f"{reviewed.case}    {priority}    {', '.join(volumes[:4])}",
        )
        written.files["picture"] = paths["picture"]
        return written

    def facts(self, affine: NDArray[np.float64]) -> dict[str, Any]:
        """Its spacing, and what all of it is for."""
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        return {"spacing_mm": [round(float(value), 6) for value in spacing], "use": RESEARCH_USE}

    def columns(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Of every class expected Dice, bound, volume and components; what touches the border or is empty."""
        row: dict[str, Any] = {}
        for name, values in measured["classes"].items():
            row[f"expected_dice {name}"] = values["soft_overlap"]
            if "dice_at_least" in values:  # of a calibration with promises
                row[f"dice_at_least {name}"] = values["dice_at_least"]
                row[f"band_ml {name}"] = values["band_ml"]
            row[f"volume_ml {name}"] = values["volume_ml"]
            row[f"components {name}"] = values["components"]
        border = [name for name, values in measured["classes"].items() if values["touches_border"]]
        empty = [name for name, values in measured["classes"].items() if not values["components"]]
        return row | {"touches_border": "; ".join(border), "empty": "; ".join(empty)}
