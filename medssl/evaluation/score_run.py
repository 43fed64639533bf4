"""A run scored, or measured under corruption, in this process, whichever version trained it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from medssl.common.bundles import EVALUATE, ROBUSTNESS, TRAIN, Bundle
from medssl.common.constants import PIXEL
from medssl.common.run_folder import RunFolder
from medssl.evaluation.earlier_runs import configuration_of, is_of_this_version
from medssl.evaluation.images import pooled_table
from medssl.evaluation.scoring import Row
from medssl.evaluation.trained import score_table
from medssl.training.workflow import run_workflow


def score_run(run: RunFolder, bundle: Bundle, options: Mapping[str, str]) -> dict[str, list[Row]]:
    """Score the checkpoints of a run with a bundle's ``evaluate.yaml`` over the run's own configuration.

    Args:
        run: the run.
        bundle: whose ``evaluate.yaml`` it is.
        options: what ``evaluate.yaml`` lets a scoring choose, as text from a command line.

    Returns:
        Rows by checkpoint, as :func:`medssl.evaluation.evaluate_run`.

    Raises:
        InputError: as :func:`medssl.evaluation.evaluate_run`, or settings other than the run's.
    """
    result: dict[str, list[Row]] = _run_over(run, bundle, EVALUATE, options)
    return result


def measure_run(run: RunFolder, bundle: Bundle, options: Mapping[str, str]) -> str:
    """Measure a run on corrupted cases with a bundle's ``robustness.yaml``, on the cases of its own lists.

    Args:
        run: the run.
        bundle: whose ``robustness.yaml`` it is.
        options: what ``robustness.yaml`` lets one choose, as text from a command line.

    Returns:
        The table as Markdown.

    Raises:
        InputError: as :func:`medssl.evaluation.robustness_study.robustness_of_run`.
    """
    table: str = _run_over(run, bundle, ROBUSTNESS, options)
    return table


def _run_over(run: RunFolder, bundle: Bundle, overlay: str, options: Mapping[str, str]) -> Any:
    """What a bundle's file gives over the run's own configuration."""
    settings = {"bundle_root": str(bundle.path), "run_dir": str(run.path), **options}
    with TemporaryDirectory() as folder:
        config = run.config
        if not is_of_this_version(run.settings()):
            config = Path(folder) / run.config.name
            upgraded: dict[str, Any] = configuration_of(run, bundle.config(TRAIN))
            config.write_text(yaml.safe_dump(upgraded, sort_keys=False, allow_unicode=True), encoding="utf-8")
        (result,) = run_workflow([config, bundle.config(overlay)], settings, beside=run.path)
    return result


def short_table(run: RunFolder, scores: Mapping[str, Sequence[Row]], subset: str) -> str:
    """What matters most, a line a checkpoint: over cases, or of images pooled over their pixels.

    Args:
        run: the run.
        scores: of :func:`score_run`; at least one row each.
        subset: which cases were scored.
    """
    of_images = next(iter(scores.values()))[0]["unit"] == PIXEL
    return pooled_table(run, list(scores), subset) if of_images else score_table(scores)
