"""Per-case scores of predictions in the geometry of the reference file."""

import csv
import io
import json
import logging
import math
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from medssl.common.errors import InputError
from medssl.common.files import write_text
from medssl.data.checks.volumes import AFFINE_TOLERANCE
from medssl.inference.checkpoints import load_checkpoint
from medssl.inference.deployment import load_deployment
from medssl.inference.scan_evaluator import ScanEvaluator
from medssl.metrics import EMPTY_POLICY, ReliabilityMetrics, segmentation_scores
from medssl.training.run_lock import not_while_training

Row = dict[str, str | int | float]
METRICS = ("dice", "jaccard", "hausdorff95", "asd", "assd", "nsd")
RELIABILITY = ("ece", "p_acc_cer", "p_unc_inacc", "rss", "brier", "nll")
DISTANCES = ("hausdorff95", "asd", "assd")
LOWER_IS_BETTER = (*DISTANCES, "ece", "brier", "nll")

logger = logging.getLogger(__name__)


class CaseMetrics:
    """Scores every case of an evaluator, class by class, and writes them as CSV when it completes.

    Needs in the output ``label_map`` and the probabilities ``pred`` and in the batch ``reference``, all in
    the geometry of the reference file, ``image`` and ``case``. Columns: case, class, dice, jaccard,
    hausdorff95, asd, assd, nsd, unit (of the distances), empty (which mask has no voxel), volume_ml and
    reference_ml, and
    of the case as a whole, the same in the row of every class, :data:`RELIABILITY` (docs/reliability.md).
    Means and medians over cases and classes go to ``engine.state.metrics`` as ``mean_dice``,
    ``median_dice`` and so on. Beside ``cases_last.csv``, ``reliability_last.json`` holds the same pooled over
    the voxels of all cases, under both protocols, with the reliability diagram, the policy of all numbers,
    and the median seconds of a case from the loaded scan to the maps in its geometry.

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
        """Remember the arguments."""
        self.subset, self.temperature = subset, temperature
        self.reliability_margin = reliability_margin
        self.pooled = ReliabilityMetrics(num_classes)
        self.path, self.num_classes, self.unit = Path(path), num_classes, unit
        self.facts: dict[str, Any] = {}  # what the caller knows, written beside the pooled numbers
        self.nsd_tolerance = nsd_tolerance
        self.rows: list[Row] = []

    def attach(self, engine: Engine) -> None:
        """Score the cases of this evaluator."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_STARTED, self.iteration_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.COMPLETED, self.completed)

    def started(self, _: Engine) -> None:
        """Forget the rows of an earlier evaluation."""
        self.rows, self.pooled = [], ReliabilityMetrics(self.num_classes)
        self._seconds: list[float] = []

    def iteration_started(self, _: Engine) -> None:
        """Start the clock, now that the case is loaded."""
        self._began = time.monotonic()

    def iteration_completed(self, engine: Engine) -> None:
        """Score the cases of a batch.

        Raises:
            InputError: a reference that lies on another grid than its scan.
        """
        self._seconds.append((time.monotonic() - self._began) / len(engine.state.output))
        for given, made in zip(engine.state.batch, engine.state.output, strict=True):
            item = {**given, **made}
            predicted = item["label_map"][0].numpy()
            reference = item["reference"].as_tensor()[0].numpy()
            _check_reference(item["reference"], predicted, item["image"])
            affine = np.asarray(item["image"].meta["original_affine"], np.float64)  # as the review measures
            spacing = np.linalg.norm(affine[:3, :3], axis=0)
            milliliters = float(np.prod(spacing)) / 1000
            reliability = self._reliability(item["pred"], predicted, reference, spacing)
            for label in range(1, self.num_classes):
                scores = segmentation_scores(
                    predicted,
                    reference,
                    spacing.tolist() if self.unit == "mm" else 1.0,
                    label=label,
                    nsd_tolerance_mm=self.nsd_tolerance,
                )
                row: Row = {"case": str(item["case"]), "class": label}
                row |= {name: round(getattr(scores, name), 6) for name in METRICS}
                row |= {"unit": self.unit, "empty": scores.empty}
                row["volume_ml"] = round(int((predicted == label).sum()) * milliliters, 6)
                row["reference_ml"] = round(int((reference == label).sum()) * milliliters, 6)
                row |= {name: round(reliability[name], 6) for name in RELIABILITY}
                self.rows.append(row)

    def _reliability(
        self,
        probs: Tensor,
        predicted: NDArray[Any],
        reference: NDArray[Any],
        spacing: NDArray[np.float64],
    ) -> dict[str, float]:
        """Of one case; added to the pooled ones."""
        box: tuple[slice, ...] = (slice(None),) * 3
        if self.reliability_margin is not None:
            box = foreground_box(predicted, reference, self.reliability_margin / spacing)
        metrics = ReliabilityMetrics(self.num_classes)
        metrics.update(probs[(slice(None), *box)].float(), reference[box].astype(np.int64))
        self.pooled.merge(metrics)
        return metrics.compute()

    def completed(self, engine: Engine) -> None:
        """Write the CSV and the pooled reliability, and hand the means to the engine."""
        text = io.StringIO()
        if self.rows:
            writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
        self._write_pooled()
        for name in METRICS if self.rows else ():
            values = [float(row[name]) for row in self.rows]
            engine.state.metrics[f"mean_{name}"] = statistics.fmean(values)
            engine.state.metrics[f"median_{name}"] = statistics.median(values)

    @property
    def policy(self) -> dict[str, Any]:
        """How the numbers were made: only runs that share it can stand in one table."""
        margin = self.reliability_margin
        # Only a temperature that changes something: scores of before there was a choice have none.
        tempered = {} if self.temperature == 1 else {"temperature": self.temperature}
        return {
            **tempered,
            "evaluate_on": self.subset,
            "unit": self.unit,
            "nsd_tolerance": self.nsd_tolerance,
            "region": "scan" if margin is None else f"box + {margin:g} mm",
            "empty": EMPTY_POLICY,
        }

    def _write_pooled(self) -> None:
        diagram = self.pooled.calibration.diagram()
        content: dict[str, Any] = {
            "cases": len({row["case"] for row in self.rows}),
            "policy": self.policy,
            **self.facts,
            "seconds_per_case": round(statistics.median(self._seconds), 4) if self._seconds else None,
            "pooled": _numbers(self.pooled.compute()),
            "diagram": {
                name: [None if math.isnan(v) else v for v in getattr(diagram, name).tolist()]
                for name in ("count", "confidence", "accuracy")
            },
        }
        path = self.path.with_name(self.path.stem.replace("cases", "reliability", 1) + ".json")
        if path.stem != self.path.stem:
            write_text(path, json.dumps(content, indent=2) + "\n")


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: None if math.isnan(value) else round(value, 6) for name, value in values.items()}


def foreground_box(
    predicted: NDArray[Any], reference: NDArray[Any], margin: NDArray[np.float64]
) -> tuple[slice, ...]:
    """Around both masks, with a margin in voxels of each axis; everything where both are empty."""
    mask = (predicted > 0) | (reference > 0)
    slices = []
    for axis in range(3):
        places = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(places):
            return (slice(None),) * 3
        more = math.ceil(margin[axis])
        slices.append(slice(max(0, int(places[0]) - more), int(places[-1]) + 1 + more))
    return tuple(slices)


def _check_reference(reference: MetaTensor, predicted: NDArray[Any], image: MetaTensor) -> None:
    """Refuse a reference that differs in shape or place from its scan, whose grid the prediction has."""
    where, scan = reference.meta["filename_or_obj"], Path(image.meta["filename_or_obj"]).name
    shapes = [" x ".join(map(str, shape)) for shape in (reference.shape[1:], predicted.shape)]
    if shapes[0] != shapes[1]:
        raise InputError(
            where, f"is {shapes[0]} voxels, its scan {scan} {shapes[1]}", "resample it to the scan's grid"
        )
    mine, theirs = np.asarray(reference.affine), np.asarray(image.meta["original_affine"])
    # No corner can be further off than this, on any axis.
    moved = (np.abs(mine - theirs) @ [*predicted.shape, 1]).max()
    if moved > AFFINE_TOLERANCE * np.linalg.norm(theirs[:3, :3], axis=0).min():
        raise InputError(
            where,
            f"lies elsewhere than its scan {scan} (affines differ, by up to {moved:.3g} mm)",
            "resample it to the scan's grid, or correct its header",
        )


def summary_table(rows: Sequence[Row]) -> str:
    """Mean, median and range of every metric over cases, class by class, with the empty-mask policy."""
    lines = []
    for label in sorted({int(row["class"]) for row in rows}):
        of_class = [row for row in rows if row["class"] == label]
        empty = sum(row["empty"] in ("prediction", "reference") for row in of_class)
        lines.append(f"class {label}, {len(of_class)} cases, {empty} with an empty mask on one side")
        lines.append(f"  {'metric':<16}{'mean':>9}{'median':>9}{'worst':>9}{'best':>9}")
        for name in (*METRICS, *(name for name in RELIABILITY if name in of_class[0])):
            values = [float(row[name]) for row in of_class if not math.isnan(float(row[name]))]
            if not values:
                continue
            low, high = min(values), max(values)
            worst, best = (high, low) if name in LOWER_IS_BETTER else (low, high)
            title = f"{name} ({of_class[0]['unit']})" if name in DISTANCES else name
            numbers = (statistics.fmean(values), statistics.median(values), worst, best)
            lines.append(f"  {title:<16}" + "".join(f"{number:9.4f}" for number in numbers))
    lines.append(EMPTY_POLICY)
    return "\n".join(lines)


@not_while_training
def evaluate_run(
    evaluator: ScanEvaluator,
    *,
    run_dir: str | Path,
    num_classes: int,
    checkpoints: Sequence[Literal["best", "last"]] = ("best", "last"),
    unit: Literal["mm", "voxel"] = "mm",
    nsd_tolerance: float = 1.0,
    reliability_margin: float | None = None,
    subset: Literal["test", "validation"] = "test",
    split_sha256: str | None = None,
    channels_last: bool = True,
    allow: Collection[str] = (),
    overwrite: bool = False,
) -> dict[str, list[Row]]:
    """Score the checkpoints of a run: ``best.pt`` to ``cases_best.csv``, ``last.pt`` to ``cases_last.csv``.

    Scores of the validation cases stand beside them, in ``cases_best_validation.csv`` and so on. A run
    without a validation has no ``best.pt`` and is scored on ``last.pt`` alone.

    Args:
        evaluator: over the test cases, with ``reference`` and ``case``; its predictor keeps probabilities,
            and its networks give way to each checkpoint's.
        run_dir: folder of the run.
        num_classes: classes ``K``.
        checkpoints: which of the two.
        unit: see :class:`CaseMetrics`.
        nsd_tolerance: see :class:`CaseMetrics`.
        reliability_margin: see :class:`CaseMetrics`.
        subset: which cases the evaluator is over; in the names of the files and in ``policy``.
        split_sha256: hash of the case lists, which stands with the scores.
        channels_last: memory layout of the weights.
        allow: see :func:`~medssl.inference.load_deployment`.
        overwrite: replace scores that are there already.

    Returns:
        The rows of each checkpoint.

    Raises:
        InputError: no checkpoint, one of another architecture, no case to score, scores that are there, or a
            training that runs in the folder.
    """
    folder = Path(run_dir)
    names = [name for name in checkpoints if (folder / f"{name}.pt").is_file()]
    if not names:
        raise InputError(folder, "holds none of " + ", ".join(f"{n}.pt" for n in checkpoints), "train first")
    if not len(evaluator.data_loader):
        raise InputError("evaluation", "no case to score", "ask for validation or test cases")
    ending = "" if subset == "test" else f"_{subset}"
    for name in names:
        if (folder / f"cases_{name}{ending}.csv").exists() and not overwrite:
            raise InputError(folder / f"cases_{name}{ending}.csv", "exists already", "add --overwrite true")
    results: dict[str, list[Row]] = {}
    for name in names:
        predictor = evaluator.inferer
        deployment = load_deployment([folder / f"{name}.pt"], allow=allow)
        predictor.networks = deployment.ready(device=predictor.device, channels_last=channels_last)
        step = load_checkpoint(folder / f"{name}.pt")["progress"]["step"]
        scores = CaseMetrics(
            folder / f"cases_{name}{ending}.csv",
            num_classes=num_classes,
            unit=unit,
            nsd_tolerance=nsd_tolerance,
            reliability_margin=reliability_margin,
            subset=subset,
            temperature=predictor.temperature,
        )
        scores.facts = {"step": step, "split_sha256": split_sha256}
        events = (
            (Events.STARTED, scores.started),
            (Events.ITERATION_STARTED, scores.iteration_started),
            (Events.ITERATION_COMPLETED, scores.iteration_completed),
            (Events.COMPLETED, scores.completed),
        )
        handles = [evaluator.add_event_handler(event, handler) for event, handler in events]
        try:
            evaluator.run()
        finally:
            for handle in handles:
                handle.remove()
        logger.info("%s of step %d\n%s", name, step, summary_table(scores.rows))
        results[name] = scores.rows
    return results
