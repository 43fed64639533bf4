"""The evaluation of a run: its checkpoints, scored one after the other."""

import logging
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from ignite.engine import Events

from medssl.common.errors import InputError
from medssl.common.next_steps import after_run
from medssl.common.progress import Progress
from medssl.common.run_folder import RunFolder
from medssl.evaluation.case_metrics import CaseMetrics, Row, summary_table
from medssl.inference.deployment import load_deployment
from medssl.inference.scan_evaluator import ScanEvaluator
from medssl.training.run_lock import not_while_training

logger = logging.getLogger(__name__)


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
    run = RunFolder(Path(run_dir))
    folder = run.path
    present = [name for name in checkpoints if (folder / f"{name}.pt").is_file()]
    if not present:
        raise InputError(folder, "holds none of " + ", ".join(f"{n}.pt" for n in checkpoints), "train first")
    if not len(evaluator.data_loader):
        raise InputError("evaluation", "no case to score", "ask for validation or test cases")
    for name in present:
        if run.scores(name, subset).exists() and not overwrite:
            raise InputError(run.scores(name, subset), "exists already", "add --overwrite true")
    results: dict[str, list[Row]] = {}
    for name in present:
        predictor = evaluator.inferer
        deployment = load_deployment([folder / f"{name}.pt"], allow=allow)
        predictor.networks = deployment.ready(device=predictor.device, channels_last=channels_last)
        (step,) = deployment.steps
        scores = CaseMetrics(
            run.scores(name, subset),
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
            with Progress(len(evaluator.data_loader), title=f"scoring {name}.pt", unit="case") as progress:
                advance = partial(progress.advance, 1)
                handles.append(evaluator.add_event_handler(Events.ITERATION_COMPLETED, advance))
                evaluator.run()
        finally:
            for handle in handles:
                handle.remove()
        logger.info("%s of step %d\n%s", name, step, summary_table(scores.rows))
        results[name] = scores.rows
    logger.info("scored: %s; next: %s", folder, after_run(run))
    return results
