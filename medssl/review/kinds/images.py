"""The review of images: PNG files on the pixels of the image, for any viewer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from medssl.common.errors import InputError
from medssl.inference.predictor import Prediction
from medssl.review.class_colors import image_classes
from medssl.review.image_files import (
    displayed,
    write_class_ids,
    write_class_table,
    write_levels,
    write_overlay,
)
from medssl.review.kinds.base import PageWords, ReviewedCase, ReviewKind, Written
from medssl.review.measurements import CaseMeasurements, measure_image
from medssl.review.options import PackageOptions
from medssl.review.segments import SegmentClass
from medssl.review.voxel_maps import VOXEL_MAPS, MapFile

NAMED = 4
"""Classes that the worklist names, the largest first."""


class Images(ReviewKind):
    """Of images of two axes, in which class 0 is a class as any other."""

    axes = 2
    noun = "image"
    first_class = 0
    empty_counts = False  # of many classes most are not in an image
    flat = {kind.name: f"{{case}}_{kind.suffix}.png" for kind in VOXEL_MAPS} | {
        "overlay": "{case}_overlay.png",
        "side-car": "{case}.json",
    }
    bids: Mapping[str, str] = {}
    class_table = "classes.csv"
    words = PageWords(
        pictures=("overlay", "uncertainty"),
        alt="overlay or uncertainty of",
        tools="grey levels of uncertainty and confidence run from 0 (black) to 1 (white); "
        "classes.csv holds the colours",
        legend=True,
    )

    def check(self, options: PackageOptions) -> None:
        """Refuse what is for scans."""
        given = {
            "--bids": options.bids,
            "--dicom-seg": options.dicom_seg,
            "--keep-largest": options.keep_largest,
            "--fill-holes": options.fill_holes,
        }
        for option, value in given.items():
            if value:
                raise InputError(option, "is for scans, and these are images", "leave it out")

    def classes(self, num_classes: int, names: Sequence[str]) -> tuple[SegmentClass, ...]:
        """All classes; the names are of class 0, 1 and so on."""
        if len(names) > num_classes:
            raise InputError("class names", f"are {len(names)}", f"give {num_classes}, of class 0 first")
        return image_classes(num_classes, names)

    def write_tables(self, folder: Path, classes: Sequence[SegmentClass]) -> None:
        """Write ``classes.csv``."""
        write_class_table(folder, classes)

    def shown(self, image: MetaTensor) -> NDArray[np.uint8]:
        """Colours ``(H, W, 3)``."""
        return displayed(image)

    def measure(self, prediction: Prediction, affine: NDArray[np.float64]) -> CaseMeasurements:
        """See :func:`~medssl.review.measurements.measure_image`."""
        return measure_image(prediction)

    def write_map(
        self,
        path: Path,
        file: MapFile,
        *,
        source: Path,
        affine: NDArray[np.float64],
        classes: Sequence[SegmentClass],
    ) -> None:
        """Write class ids with a palette, or grey levels."""
        if np.issubdtype(file.values.dtype, np.integer):
            write_class_ids(path, file.values, classes)
        else:
            write_levels(path, file.values, content=file.title)

    def write_others(
        self, reviewed: ReviewedCase, paths: Mapping[str, Path], options: PackageOptions
    ) -> Written:
        """The overlay."""
        write_overlay(paths["overlay"], reviewed.shown, reviewed.prediction.labels, reviewed.classes)
        return Written({"overlay": paths["overlay"]})

    def facts(self, affine: NDArray[np.float64]) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def columns(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Mean expected Dice of the classes that were predicted, and the largest of them."""
        predicted = {name: values for name, values in measured["classes"].items() if values["share"]}
        largest = sorted(predicted, key=lambda name: -predicted[name]["share"])
        words = [f"{name} {100 * predicted[name]['share']:.0f}%" for name in largest[:NAMED]]
        further = f"; {len(largest) - NAMED} more" if len(largest) > NAMED else ""
        expected = [values["soft_overlap"] for values in predicted.values()]
        return {"expected_dice": sum(expected) / len(expected), "largest_classes": "; ".join(words) + further}
