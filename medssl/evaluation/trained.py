"""What follows a training takes its settings from the run's folder, and refuses others."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import DataLoader, Dataset
from monai.data.utils import no_collation
from monai.transforms import Compose

from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder
from medssl.evaluation.earlier_runs import is_of_this_version, is_value
from medssl.inference.deployment import Deployment
from medssl.metrics.table import find_metric
from medssl.training.configuration import HOW_AND_WHERE, first_difference, merged_configuration

IN_SHORT = ("dice", "hausdorff95", "nsd", "ece")
"""Metrics of the short table that ``medssl evaluate`` prints."""

FREE_IN_SCORING = (
    *HOW_AND_WHERE,
    "setting",
    "evaluate_on",
    "unit",
    "nsd_tolerance",
    "reliability_margin",
    "stride",
    "amp",
    "channels_last",
    "class_names",
)
"""Settings that a scoring may choose for itself: how it measures, and how exactly it computes."""

# An overlay for the scoring has these of its own.
_PARTS_OF_THE_SCORING = ("imports", "initialize", "run", "finalize", "validate", "predictor")


def require_trained_settings(run_dir: str | Path) -> None:
    """Refuse to score a run with other settings than those that it was trained with.

    To be called by an expression of the configuration, before the data are looked at. Settings that are
    younger than the run are not compared.

    Args:
        run_dir: the run's folder.

    Raises:
        InputError: no run there, or one without a checkpoint; the first setting that differs, but for
            :data:`FREE_IN_SCORING`; a ``config.yaml`` of an earlier version as the first config file.
    """
    run = RunFolder(Path(run_dir))
    record = run.read()
    if not (run.path / "last.pt").is_file():
        fault = f"holds no last.pt; the training is {record['status']}"
        raise InputError(run.path, fault, "train it to its first checkpoint; --resume true goes on with it")
    trained, asked = run.settings(), merged_configuration()
    if not is_of_this_version(asked):
        raise InputError(
            run.config,
            "was written by an earlier version, and is no config file of this one",
            f"score the run with: medssl evaluate {run.path}",
        )
    same_parts = is_of_this_version(trained)
    for name, value in trained.items():
        if name in (*FREE_IN_SCORING, *_PARTS_OF_THE_SCORING):
            continue
        if not same_parts and not (name in asked and is_value(asked[name]) and is_value(value)):
            continue  # a part, or a setting that there is no more
        difference = first_difference(name, asked.get(name), value)
        if difference is not None:
            remedy = "give the run's settings" + (
                f": {run.config} is a config file of them all" if same_parts else ""
            )
            raise InputError(run.path, f"was trained otherwise: {difference}", remedy)


def require_trained_split(run_dir: str | Path, split_sha256: str) -> None:
    """Refuse a datalist that is not the one that a run was trained with.

    Raises:
        InputError: its hash is another one than in ``run.json``.
    """
    run = RunFolder(Path(run_dir))
    trained = str(run.read().get("split_sha256"))
    if split_sha256 != trained:
        raise InputError(
            run.path,
            f"was trained with another split ({trained[:12]} there, {split_sha256[:12]} here)",
            "give the data, or the datalist, of its training",
        )


def packages_of_run(run_dir: str | Path) -> list[str]:
    """Packages of whatever classes a run's configuration names, such as a network of the user's own.

    The configuration is code, and whoever scores the run has it evaluated; so the run's checkpoints may name
    these packages, too. A checkpoint alone is trusted with none (:func:`~medssl.inference.load_deployment`).
    """
    return sorted(
        {name.split(".")[0] for name in _targets(RunFolder(Path(run_dir)).settings()) if "." in name}
    )


def _targets(config: Any) -> Iterator[str]:
    """Names of the classes and functions of a configuration, unevaluated."""
    if isinstance(config, Mapping):
        if isinstance(config.get("_target_"), str):
            yield config["_target_"]
        config = list(config.values())
    if isinstance(config, list):
        for entry in config:
            yield from _targets(entry)


def scoring_loader(
    cases: Sequence[Mapping[str, Any]], *, deployment: Deployment, label_map: Mapping[Any, Any] | None = None
) -> DataLoader:
    """The cases of a scoring, one after the other: preprocessed as in the training, the reference as stored.

    Args:
        cases: items with ``image`` and ``reference``.
        deployment: the trained model, which says how its scans were preprocessed.
        label_map: stored class ids that stand for others in the references.
    """
    load_reference = deployment.loader("reference", label_map=label_map)
    dataset = Dataset(list(cases), Compose([load_reference, deployment.transform]))
    return DataLoader(dataset, batch_size=1, collate_fn=no_collation)


def score_table(scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Mean and median over cases and classes of what matters most, a line a checkpoint.

    Args:
        scores: rows of :func:`medssl.evaluation.evaluate_run` by checkpoint; at least one each.
    """
    unit = str(next(iter(scores.values()))[0]["unit"])
    metrics = [find_metric(name) for name in IN_SHORT]
    titles = "".join(f"{metric.heading(unit):>20}" for metric in metrics)
    lines = [f"{'':8}{'cases':>6}{titles}   mean / median"]
    for checkpoint, rows in scores.items():
        count = len({row["case"] for row in rows})
        cells = []
        for metric in metrics:
            values = [float(row[metric.name]) for row in rows]
            mean, median = statistics.fmean(values), statistics.median(values)
            cells.append(f"{metric.text(mean)} / {metric.text(median)}")
        lines.append(f"{checkpoint:8}{count:>6}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)
