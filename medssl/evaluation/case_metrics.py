"""Scores of every case of an evaluation, class by class, in the geometry of the reference file."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ignite.engine import Engine
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from medssl.common.errors import InputError
from medssl.data.checks.volumes import AFFINE_TOLERANCE
from medssl.evaluation.scoring import Row, Scoring, measured
from medssl.metrics import EMPTY_POLICY, MaskPair, ReliabilityMetrics, ScoredClass
from medssl.metrics.table import CASE_METRICS, CLASS_METRICS, METRICS


class CaseMetrics(Scoring):
    """Scores every scan of an evaluator, class by class, and writes them as CSV when it completes.

    Needs in the output ``label_map`` and the probabilities ``pred`` and in the batch ``reference``, all in
    the geometry of the reference file, ``image`` and ``case``. Columns: case, class, the class's metrics of
    :mod:`medssl.metrics.table`, unit (of the distances), empty (which mask has no voxel), volume_ml and
    reference_ml, and of the case as a whole, the same in the row of every class, its reliability
    (docs/reliability.md).
    Means and medians over cases and classes go to ``engine.state.metrics`` as ``mean_dice``,
    ``median_dice`` and so on. What is written beside the rows: :class:`~medssl.evaluation.scoring.Scoring`.

    Args:
        path: the CSV file, such as ``cases_last.csv``.
        num_classes: classes ``K``; all but class 0 are scored.
        unit: ``"mm"``; ``"voxel"`` for the literature's numbers on LA, which ignore the spacing.
        nsd_tolerance: tolerance of the surface Dice in that unit.
        reliability_margin: None measures reliability over the whole scan, where background that nobody could
            take for anything else makes every model look reliable; a number of mm measures it in the box
            around prediction and reference, enlarged by it on every side.
        subset: which cases the evaluator is over, for the record.
        temperature: of the probabilities, likewise.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        num_classes: int,
        unit: Literal["mm", "voxel"] = "mm",
        nsd_tolerance: float = 1.0,
        reliability_margin: float | None = None,
        subset: Literal["test", "validation"] = "test",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(path, num_classes=num_classes, subset=subset, temperature=temperature)
        self.unit, self.nsd_tolerance, self.reliability_margin = unit, nsd_tolerance, reliability_margin

    def score(self, item: Mapping[str, Any]) -> tuple[list[Row], ReliabilityMetrics]:
        """The rows of a scan, and its own reliability."""
        predicted = item["label_map"][0].numpy()
        reference = item["reference"].as_tensor()[0].numpy()
        _check_reference(item["reference"], predicted, item["image"])
        affine = np.asarray(item["image"].meta["original_affine"], np.float64)  # as the review measures
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        milliliters = float(np.prod(spacing)) / 1000
        metrics = self._reliability(item["pred"], predicted, reference, spacing)
        reliability = metrics.compute()
        rows = []
        for label in range(1, self.num_classes):
            masks = MaskPair(
                predicted, reference, spacing.tolist() if self.unit == "mm" else 1.0, label=label
            )
            scored = ScoredClass(masks, self.nsd_tolerance, reliability)
            row: Row = {"case": str(item["case"]), "class": label}
            row |= measured(CLASS_METRICS, scored)
            row |= {"unit": self.unit, "empty": masks.empty}
            row["volume_ml"] = round(int((predicted == label).sum()) * milliliters, 6)
            row["reference_ml"] = round(int((reference == label).sum()) * milliliters, 6)
            row |= measured(CASE_METRICS, scored)
            rows.append(row)
        return rows, metrics

    def _reliability(
        self,
        probs: Tensor,
        predicted: NDArray[Any],
        reference: NDArray[Any],
        spacing: NDArray[np.float64],
    ) -> ReliabilityMetrics:
        """Of one scan, or of a part of it."""
        box: tuple[slice, ...] = (slice(None),) * 3
        if self.reliability_margin is not None:
            box = foreground_box(predicted, reference, self.reliability_margin / spacing)
        metrics = ReliabilityMetrics(self.num_classes)
        metrics.update(probs[(slice(None), *box)][None].float(), reference[box][None].astype(np.int64))
        return metrics

    def completed(self, engine: Engine) -> None:
        """Write the CSV and the pooled reliability, and hand the means to the engine."""
        super().completed(engine)
        for metric in CLASS_METRICS if self.rows else ():
            values = [float(row[metric.name]) for row in self.rows]
            engine.state.metrics[f"mean_{metric.name}"] = statistics.fmean(values)
            engine.state.metrics[f"median_{metric.name}"] = statistics.median(values)

    @property
    def conventions(self) -> dict[str, Any]:
        """Unit and tolerance of the surface metrics, region of the reliability, and empty masks."""
        margin = self.reliability_margin
        return {
            "unit": self.unit,
            "nsd_tolerance": self.nsd_tolerance,
            "region": "scan" if margin is None else f"box + {margin:g} mm",
            "empty": EMPTY_POLICY,
        }

    def summary(self) -> str:
        """See :func:`summary_table`."""
        return summary_table(self.rows)


def foreground_box(
    predicted: NDArray[Any], reference: NDArray[Any], margin: NDArray[np.float64]
) -> tuple[slice, ...]:
    """Around both masks, with a margin in voxels of each axis; everything where both are empty."""
    foreground = (predicted > 0) | (reference > 0)
    slices = []
    for axis in range(3):
        occupied = np.flatnonzero(foreground.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(occupied):
            return (slice(None),) * 3
        voxels = math.ceil(margin[axis])
        slices.append(slice(max(0, int(occupied[0]) - voxels), int(occupied[-1]) + 1 + voxels))
    return tuple(slices)


def _check_reference(reference: MetaTensor, predicted: NDArray[Any], image: MetaTensor) -> None:
    """Refuse a reference that differs in shape or place from its scan, whose grid the prediction has."""
    where, scan = reference.meta["filename_or_obj"], Path(image.meta["filename_or_obj"]).name
    shapes = [" x ".join(map(str, shape)) for shape in (reference.shape[1:], predicted.shape)]
    if shapes[0] != shapes[1]:
        raise InputError(
            where, f"is {shapes[0]} voxels, its scan {scan} {shapes[1]}", "resample it to the scan's grid"
        )
    reference_affine, scan_affine = np.asarray(reference.affine), np.asarray(image.meta["original_affine"])
    # No corner can be further off than this, on any axis.
    moved = (np.abs(reference_affine - scan_affine) @ [*predicted.shape, 1]).max()
    if moved > AFFINE_TOLERANCE * np.linalg.norm(scan_affine[:3, :3], axis=0).min():
        raise InputError(
            where,
            f"lies elsewhere than its scan {scan} (affines differ, by up to {moved:.3g} mm)",
            "resample it to the scan's grid, or correct its header",
        )


def summary_table(rows: Sequence[Row]) -> str:
    """Mean, median and range of every metric over cases, class by class, with the empty-mask policy."""
    lines = []
    for label in sorted({int(row["class"]) for row in rows}):
        class_rows = [row for row in rows if row["class"] == label]
        empty = sum(row["empty"] in ("prediction", "reference") for row in class_rows)
        lines.append(f"class {label}, {len(class_rows)} cases, {empty} with an empty mask on one side")
        lines.append(f"  {'metric':<16}{'mean':>9}{'median':>9}{'worst':>9}{'best':>9}")
        for metric in (metric for metric in METRICS if metric.name in class_rows[0]):
            values = [float(row[metric.name]) for row in class_rows]
            values = [value for value in values if not math.isnan(value)]
            if not values:
                continue
            ends = (min(values), max(values))
            worst, best = ends[::-1] if metric.lower_is_better else ends
            title = f"{metric.name} ({class_rows[0]['unit']})" if metric.unit == "distance" else metric.name
            numbers = (statistics.fmean(values), statistics.median(values), worst, best)
            lines.append(f"  {title:<16}" + "".join(f"{number:9.4f}" for number in numbers))
    lines.append(EMPTY_POLICY)
    return "\n".join(lines)
