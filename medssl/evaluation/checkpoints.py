"""The evaluation of a run: its checkpoints, scored one after the other."""

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from ignite.engine import Events

from medssl.common.errors import InputError
from medssl.common.next_steps import after_run
from medssl.common.progress import Progress
from medssl.common.run_folder import RunFolder
from medssl.evaluation.scoring import Scoring
from medssl.inference.deployment import load_deployment
from medssl.inference.scan_evaluator import ScanEvaluator
from medssl.training.run_lock import not_while_training

logger = logging.getLogger(__name__)
Kind = TypeVar("Kind", bound=Scoring)


@not_while_training
def score_checkpoints(
    evaluator: ScanEvaluator,
    scoring: Callable[..., Kind],
    *,
    run_dir: str | Path,
    checkpoints: Sequence[Literal["best", "last"]],
    subset: Literal["test", "validation"],
    split_sha256: str | None,
    channels_last: bool,
    allow: Collection[str],
    overwrite: bool,
) -> dict[str, Kind]:
    """Score the checkpoints of a run, whatever its cases are.

    Args:
        evaluator: see :func:`medssl.evaluation.evaluate_run`, as for all that is not named here.
        scoring: makes what scores a checkpoint, of ``path``, ``subset`` and ``temperature``.
        run_dir: folder of the run.
        checkpoints: which of the two.
        subset: which cases the evaluator is over.
        split_sha256: hash of the case lists.
        channels_last: memory layout of the weights.
        allow: see :func:`~medssl.inference.load_deployment`.
        overwrite: replace scores that are there already.

    Returns:
        What scored each checkpoint, with its scores.

    Raises:
        InputError: as :func:`medssl.evaluation.evaluate_run`.
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
    results: dict[str, Kind] = {}
    for name in present:
        predictor = evaluator.inferer
        deployment = load_deployment([folder / f"{name}.pt"], allow=allow)
        predictor.networks = deployment.ready(device=predictor.device, channels_last=channels_last)
        (step,) = deployment.steps
        scores = scoring(run.scores(name, subset), subset=subset, temperature=predictor.temperature)
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
        logger.info("%s of step %d\n%s", name, step, scores.summary())
        results[name] = scores
    logger.info("scored: %s; next: %s", folder, after_run(run))
    return results
