"""The evaluation of a run of scans."""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from medssl.evaluation.case_metrics import CaseMetrics
from medssl.evaluation.checkpoints import score_checkpoints
from medssl.evaluation.scoring import Row
from medssl.inference.scan_evaluator import ScanEvaluator


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
    scorings = score_checkpoints(
        evaluator,
        partial(
            CaseMetrics,
            num_classes=num_classes,
            unit=unit,
            nsd_tolerance=nsd_tolerance,
            reliability_margin=reliability_margin,
        ),
        run_dir=run_dir,
        checkpoints=checkpoints,
        subset=subset,
        split_sha256=split_sha256,
        channels_last=channels_last,
        allow=allow,
        overwrite=overwrite,
    )
    return {name: scoring.rows for name, scoring in scorings.items()}
