"""Does the worklist put the bad cases first? Risk and coverage of a reviewed batch."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError, find_input_error
from medssl.common.files import atomic_path, write_csv, write_text
from medssl.data import LoadCased
from medssl.data.checks.findings import refuse
from medssl.data.checks.volumes import grid_faults
from medssl.data.reading.formats import LABEL_SUFFIXES
from medssl.metrics import area_under_risk_coverage, dice, risk_coverage_curve
from medssl.review.kinds import KINDS
from medssl.review.promises import Promises, promises_from
from medssl.review.promises_reached import Reached, case_row, promises_reached
from medssl.review.worklist import read_side_cars

FIRST = 0.2
"""Share of the list that a reviewer with little time looks at."""


@dataclass(frozen=True)
class Triage:
    """How well priorities follow errors; the error of a case is one minus its mean Dice over classes.

    Attributes:
        cases: number of cases.
        mean_error: over all of them.
        aurc: area under the risk-coverage curve: mean error of what is accepted unseen, over all shares of
            the list that may be accepted, surest first (El-Yaniv and Wiener 2010, of whole cases).
        aurc_random: what a list in random order has on average, which is ``mean_error``.
        aurc_best: what the order by the errors themselves has.
        rank_correlation: Spearman's between priority and error; NaN where one of them is constant.
        p_value: two-sided, of no correlation.
        found_first: share of all error that is in the first fifth of the list.
        found_first_best: what the order by the errors themselves finds there.
        promises: promised against reached, of predictions that hold promises.
    """

    cases: int
    mean_error: float
    aurc: float
    aurc_random: float
    aurc_best: float
    rank_correlation: float
    p_value: float
    found_first: float
    found_first_best: float
    promises: tuple[Reached, ...] = ()

    def __str__(self) -> str:
        """The numbers in four lines, each beside what the best order would have; and the promises."""
        lines = (
            f"{self.cases} cases, mean error (1 - Dice) {self.mean_error:.4f}\n"
            f"area under risk-coverage {self.aurc:.4f} "
            f"(random order {self.aurc_random:.4f}, best possible {self.aurc_best:.4f})\n"
            f"rank correlation of priority and error {self.rank_correlation:.3f} (p = {self.p_value:.3g})\n"
            f"error in the first fifth of the list {self.found_first:.1%} "
            f"(best possible {self.found_first_best:.1%})"
        )
        return "\n".join([lines, *map(str, self.promises)])


def found_in_front(priority: Sequence[float], error: Sequence[float], share: float = FIRST) -> float:
    """Share of the summed error in the first ``ceil(share n)`` cases of the list; 1 without any error."""
    first = math.ceil(share * len(error))
    order = np.argsort(-np.asarray(priority, float), kind="stable")
    errors = np.asarray(error, float)[order]
    total = float(errors.sum())
    return float(errors[:first].sum()) / total if total > 0 else 1.0


def measure_triage(priority: Sequence[float], error: Sequence[float]) -> Triage:
    """All numbers of :class:`Triage`.

    Raises:
        ValueError: of different lengths, or of none.
    """
    if len(priority) != len(error) or not error:
        raise ValueError(
            f"priority and error must have one length above 0, got {len(priority)}, {len(error)}"
        )
    varied = len(set(priority)) > 1 and len(set(error)) > 1
    correlation = stats.spearmanr(priority, error) if varied else None
    return Triage(
        cases=len(error),
        mean_error=float(np.mean(error)),
        aurc=area_under_risk_coverage([-value for value in priority], error),
        aurc_random=float(np.mean(error)),
        aurc_best=area_under_risk_coverage([-value for value in error], error),
        rank_correlation=float(correlation.statistic) if correlation else math.nan,
        p_value=float(correlation.pvalue) if correlation else math.nan,
        found_first=found_in_front(priority, error),
        found_first_best=found_in_front(error, error),
    )


def evaluate_review(folder: str | Path, labels: str | Path) -> Triage:
    """Compare the segmentations of a review folder with references.

    Writes ``triage.csv`` (one row a case), ``triage.json`` and ``triage.png`` into the folder. Where
    side-cars hold promises, what was reached of them stands beside what was promised.

    Args:
        folder: of ``medssl predict``.
        labels: folder with ``<case>.nii.gz`` (or another volume format); of images ``<case>.png``.

    Raises:
        InputError: no case has a reference, or one cannot be read or lies on another grid.
    """
    folder = Path(folder)
    rows: list[dict[str, Any]] = []
    missing, promises = [], None
    for side_car in read_side_cars(folder):
        if "promises" in side_car:  # the same in all of them: a folder is made with one calibration
            promises = promises_from(side_car["promises"], where=folder)
        reference = find_label(Path(labels), side_car["case"])
        if reference is None:
            missing.append(side_car["case"])
            continue
        rows.append(_score(side_car, folder, reference, promises))
    if not rows:
        raise InputError(
            labels, f"holds no label of the {len(missing)} cases", "name them <case>.nii.gz, or <case>.png"
        )
    rows.sort(key=lambda row: (-row["priority"], row["case"]))
    triage = measure_triage([row["priority"] for row in rows], [row["error"] for row in rows])
    if promises is not None:
        triage = replace(triage, promises=tuple(promises_reached(promises, rows)))
    write_csv(folder / "triage.csv", rows, columns=list(dict.fromkeys(name for row in rows for name in row)))
    numbers = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(triage).items()}
    write_text(folder / "triage.json", json.dumps({**numbers, "without_reference": missing}, indent=2) + "\n")
    _figure(folder / "triage.png", rows, triage)
    return triage


def find_label(folder: Path, case: str) -> Path | None:
    """The label file of a case: ``<case>.nii.gz``, ``<case>_seg.nii.gz``, or in another format of labels."""
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "name the folder that holds the labels")
    names = [f"{case}{middle}{suffix}" for suffix in LABEL_SUFFIXES for middle in ("", "_seg")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def load_on_grid(scan: Path, segmentation: Path, key: str = "label") -> NDArray[Any]:
    """Class ids of a file that must lie on the grid of a scan.

    Raises:
        InputError: as :class:`medssl.data.LoadCased`.
    """
    try:
        item = LoadCased(["image", key])({"image": str(scan), key: str(segmentation)})
    except Exception as error:
        raise (find_input_error(error) or error) from None
    labels: NDArray[Any] = item[key][0].numpy()
    return labels


def _score(
    side_car: dict[str, Any], folder: Path, reference: Path, promises: Promises | None
) -> dict[str, Any]:
    # As label maps, both: one without a voxel, or with nothing else, is no fault of a prediction.
    keys = ("prediction", "reference")
    segmentation = folder / side_car["files"]["segmentation"]
    item = LoadCased(keys)({"prediction": str(segmentation), "reference": str(reference)})
    refuse(grid_faults(item["prediction"], item["reference"]))
    predicted, truth = (item[key][0].numpy() for key in keys)
    kind, classes = KINDS[len(side_car["shape"])], side_car["statistics"]["classes"]
    scores = {
        name: dice(predicted, truth, label=label)
        for label, name in enumerate(classes, kind.first_class)
        if kind.empty_counts or (predicted[truth != IGNORE] == label).any() or (truth == label).any()
    }
    error = 1 - sum(scores.values()) / len(scores)
    row = {"case": side_car["case"], "priority": side_car["statistics"]["priority"], "error": round(error, 6)}
    row |= {f"dice {name}": round(scores[name], 6) if name in scores else "" for name in classes}
    overlaps = [of_class["soft_overlap"] for of_class in classes.values()]
    expected = [value or 0.0 for value in overlaps if kind.empty_counts or value is not None]
    row["boundary_uncertainty"] = side_car["statistics"]["boundary_uncertainty"]
    row["expected_dice"] = round(sum(expected) / len(expected), 6)
    if promises is not None:
        row |= case_row(promises, classes, predicted, truth, scores, side_car["spacing_mm"])
    return row


def _figure(path: Path, rows: Sequence[dict[str, Any]], triage: Triage) -> None:
    priority, error = [row["priority"] for row in rows], [row["error"] for row in rows]
    coverage = np.arange(1, len(rows) + 1) / len(rows)
    figure = Figure(figsize=(9, 3.8), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(
        coverage,
        risk_coverage_curve([-p for p in priority], error),
        color="#0072b2",
        marker="o",
        ms=3,
        label="worklist",
    )
    left.plot(
        coverage,
        risk_coverage_curve([-e for e in error], error),
        color="#009e73",
        ls="--",
        label="best possible",
    )
    left.axhline(triage.mean_error, color="0.5", ls=":", label="random order")
    left.set(xlabel="share accepted unseen, surest first", ylabel="mean error of these (1 - Dice)")
    left.set(xlim=(0, 1), ylim=(0, None), title=f"risk-coverage, area {triage.aurc:.3f}")
    left.legend(frameon=False, fontsize=8)
    right.scatter(priority, error, color="#d55e00", s=18)
    right.set(xlabel="review priority", ylabel="error (1 - Dice)")
    right.set(title=f"Spearman {triage.rank_correlation:.2f}, {triage.cases} cases")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
