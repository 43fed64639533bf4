"""How good an annotator's maps are: alone, as sets of classes, and as labels, raw and calibrated."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from medssl.annotators import MapFolder
from medssl.common.errors import InputError, unknown_name
from medssl.common.files import write_csv
from medssl.common.progress import track
from medssl.data.lists.datalist import LISTS, Datalist
from medssl.data.lists.datalist_file import load_datalist
from medssl.data.reading.loading import LoadCased
from medssl.metrics.coverage import CoverageCounts, coverage_counts
from medssl.reliability import ConformalCalibrator
from medssl.reliability.grids import on_grid

LABEL = "label"
COLUMNS: Mapping[str, str] = {
    "alpha": "alpha",
    "class": "class",
    "name": "name",
    "pixels": "pixels",
    "iou": "IoU",
    "coverage": "coverage",
    "set_size": "set size",
    "raw_precision": "precision",
    "raw_recall": "recall",
    "precision": "precision",
    "recall": "recall",
    "kept": "kept",
}
"""Columns of the table, and their titles in the text."""
SHOWN = list(COLUMNS)[4:]
ABOVE = {"annotator": 10, "sets of classes": 20, "raw labels": 20, "calibrated labels": 30}
"""Titles of groups of the columns that the text shows, and how wide they are."""

Row = dict[str, Any]


@dataclass(frozen=True)
class MeasuredAnnotations:
    """What :func:`measure_annotations` found.

    Attributes:
        names: of the ``K`` classes.
        raw: counts of labels that are the most probable class, everywhere.
        calibrated: by accepted risk, counts of the prediction sets, and of the labels that they give.
        pooling: of the calibrator.
        background: class id that gives way to others; None for no such class.
        calibration_images: number of labelled images that the calibrator was fitted on.
        images: number of images measured.
        lists: where these stand in the datalist.
        fallbacks: share of the thresholds that had too few scores, and are those of the whole image.
    """

    names: tuple[str, ...]
    raw: CoverageCounts
    calibrated: Mapping[float, CoverageCounts]
    pooling: str
    background: int | None
    calibration_images: int
    images: int
    lists: tuple[str, ...]
    fallbacks: float

    @property
    def iou(self) -> Tensor:
        """IoU of the annotator alone, float64 ``(K,)``; NaN for a class that is nowhere."""
        raw = self.raw
        return raw.right / (raw.reference + raw.labeled - raw.right).double()

    @property
    def miou(self) -> float:
        """Mean over the classes that are anywhere, pooled over all pixels."""
        return float(self.iou.nanmean())

    def coverages(self) -> dict[str, Mapping[float | None, CoverageCounts]]:
        """The counts as :func:`medssl.reports.coverage.write_coverage` takes them."""
        return {
            "raw labels": {None: self.raw},
            f"calibrated ({self.pooling})": cast("Mapping[float | None, CoverageCounts]", self.calibrated),
        }

    def rows(self, alpha: float) -> list[Row]:
        """A row for each class, and ``overall``, by :data:`COLUMNS`; NaN where there is nothing to divide by.

        Precision of calibrated labels is over the pixels that get one, recall over all; ``kept`` is the share
        of the pixels of a class that get a label, right or wrong.
        """
        raw, calibrated = self.raw, self.calibrated[alpha]
        of_classes = {
            "pixels": raw.reference,
            "iou": self.iou,
            "coverage": calibrated.coverage,
            "set_size": calibrated.set_size,
            "raw_precision": raw.precision,
            "raw_recall": raw.recall,
            "precision": calibrated.precision,
            "recall": calibrated.recall,
            "kept": calibrated.kept_share,
        }
        overall = {
            "pixels": int(raw.reference.sum()),
            "iou": self.miou,
            "coverage": calibrated.overall_coverage,
            "set_size": calibrated.overall_set_size,
            "raw_precision": raw.overall_precision,
            "raw_recall": raw.overall_recall,
            "precision": calibrated.overall_precision,
            "recall": calibrated.overall_recall,
            "kept": calibrated.overall_kept_share,
        }
        rows: list[Row] = [
            {"alpha": alpha, "class": label, "name": name}
            | {key: values[label].item() for key, values in of_classes.items()}
            for label, name in enumerate(self.names)
        ]
        return [*rows, {"alpha": alpha, "class": "", "name": "overall"} | overall]

    def text(self) -> str:
        """The tables, and in words what they are of."""
        width = max(len(name) for name in (*self.names, "overall"))
        lines = [self.about()]
        for alpha in self.calibrated:
            lines.append(f"\nalpha {alpha:g}: sets are to cover {1 - alpha:.4g} of the pixels")
            lines.append(" " * width + "".join(f"{title:>{cells}}" for title, cells in ABOVE.items()))
            lines.append(" " * width + "".join(f"{COLUMNS[key]:>10}" for key in SHOWN))
            for row in self.rows(alpha):
                cells = "".join(f"{_cell(row[key]):>10}" for key in SHOWN)
                lines.append(f"{row['name']:{width}}{cells}")
        return "\n".join(lines)

    def about(self) -> str:
        """One sentence: which images calibrated, and which were measured."""
        how = [f"pooling {self.pooling}"]
        how.append("no background" if self.background is None else f"background {self.background}")
        if self.fallbacks:
            how.append(f"{self.fallbacks:.1%} of the thresholds those of the whole image")
        return (
            f"calibrated on {self.calibration_images} labelled images ({', '.join(how)}), "
            f"measured on {self.images} ({', '.join(self.lists)})"
        )

    def write(self, path: str | Path) -> None:
        """Write all rows as CSV; what there is nothing to divide by for is empty."""
        rows = [row for alpha in self.calibrated for row in self.rows(alpha)]
        write_csv(path, [{key: _stored(value) for key, value in row.items()} for row in rows])


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _stored(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 5)
    return value


def measure_annotations(
    folders: Sequence[str | Path],
    datalist: str | Path,
    *,
    lists: Sequence[str] = ("validation", "test"),
    alphas: Sequence[float] = (0.05,),
    pooling: str | None = None,
    grid: Sequence[int] | None = None,
    background: bool | None = None,
    seed: int = 0,
) -> MeasuredAnnotations:
    """Fit a calibrator on the labelled images, and measure maps against the labels of others.

    Maps are brought to the pixels of the labels, linearly. Ignored pixels (255) count nowhere.

    Args:
        folders: with the maps.
        datalist: JSON file; its training list calibrates.
        lists: of it, whose images are measured; ``unlabeled`` stands for its hidden labels.
        alphas: accepted risks, each with a calibrator of its own.
        pooling: see :class:`medssl.reliability.ConformalCalibrator`; by default ``"pixel"`` for images and
            ``"image"`` for volumes.
        grid: of the calibrator, where the pooling has one; by default 512 x 512.
        background: whether class 0 gives way to others in a set; by default in volumes, and where it is
            called background.
        seed: of the poolings that draw.

    Raises:
        InputError: no image to measure, a map that is missing or no map, labels with a class that maps do not
            have, or what the calibrator refuses.
    """
    content = load_datalist(datalist)
    calibration = [(item["image"], item[LABEL]) for item in content["training"]]
    measured = _pairs(content, lists)
    if not measured:
        fault = f"has no labelled image in {' or '.join(lists)}"
        raise InputError(datalist, fault, "name others with --lists, such as unlabeled (its hidden labels)")
    num_classes = len(MapFolder(folders).read(calibration[0][0]))
    maps = MapFolder(folders, num_classes=num_classes)
    for image, _ in (*calibration, *measured):
        maps.path(image)  # raises before the long part
    load = LoadCased(LABEL, label_map=content.get("label_map"), num_classes=num_classes)
    axes = load({LABEL: calibration[0][1]})[LABEL].ndim - 1

    def loaded(pairs: Sequence[tuple[Any, Any]], title: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Probabilities ``(K, *S)`` and labels ``(*T)``, image by image."""
        for image, label in track(pairs, len(pairs), title=title, unit="image"):
            yield torch.from_numpy(maps.read(image)), load({LABEL: label})[LABEL].as_tensor()[0].long()

    names = _names(content, num_classes)
    if background is None:
        background = axes == 3 or names[0] == "background"
    giving_way = 0 if background else None
    calibrators = {
        alpha: ConformalCalibrator(
            alpha,
            pooling or ("image" if axes == 3 else "pixel"),  # type: ignore[arg-type]
            grid=tuple(grid or (512, 512)),
            seed=seed,
        ).fit(loaded(calibration, "calibration"))
        for alpha in alphas
    }
    nothing = torch.zeros(num_classes, dtype=torch.int64)
    raw = CoverageCounts(*[nothing] * len(fields(CoverageCounts)))
    calibrated = dict.fromkeys(calibrators, raw)
    for probs, truth in loaded(measured, "measurement"):
        batch, reference = on_grid(probs.unsqueeze(0), truth.shape), truth.unsqueeze(0)
        top = batch.argmax(1)
        raw += coverage_counts(one_hot(top, num_classes).movedim(-1, 1).bool(), top, reference)
        for alpha, calibrator in calibrators.items():
            sets = calibrator.prediction_sets(batch)
            labels = calibrator.calibrated_labels(batch, background=giving_way)
            calibrated[alpha] += coverage_counts(sets, labels, reference)
    calibrator = next(iter(calibrators.values()))
    return MeasuredAnnotations(
        names=names,
        raw=raw,
        calibrated=calibrated,
        pooling=calibrator.pooling,
        background=giving_way,
        calibration_images=len(calibration),
        images=len(measured),
        lists=tuple(name for name in lists if _pairs(content, [name])),
        fallbacks=int(calibrator.fallbacks) / calibrator.thresholds.numel(),
    )


def _pairs(content: Datalist, lists: Sequence[str]) -> list[tuple[Any, Any]]:
    """Image and label of all labelled items of some lists, each image once."""
    pairs: dict[str, tuple[Any, Any]] = {}
    for name in lists:
        if name not in LISTS:
            raise unknown_name("list", name, LISTS)
        if name == "training":
            raise InputError("list training", "is what calibrates", "measure on images kept apart")
        for item in content[name]:
            label = content["hidden_labels"].get(item["case"]) if name == "unlabeled" else item.get(LABEL)
            if label is not None:
                pairs[str(item["image"])] = (item["image"], label)
    return list(pairs.values())


def _names(content: Datalist, num_classes: int) -> tuple[str, ...]:
    names = content.get("classes") or []
    if len(names) != num_classes:
        names = [f"class {label}" for label in range(num_classes)]
    return tuple(map(str, names))
