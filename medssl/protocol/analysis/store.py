"""Run folders as tables: what was run, its scores, and whether runs may stand in one table."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import yaml

from medssl.common.constants import PIXEL
from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder, Selection, Status
from medssl.metrics import ImageSums
from medssl.metrics.table import CLASS_METRICS, METRICS, SCORE_COLUMNS
from medssl.protocol.analysis.pooled_runs import SUMS, PooledRun

Checkpoint = Literal["best", "last"]
Subset = Literal["test", "validation"]

COLUMNS = (
    "dataset",
    "labeled",
    "method",
    "seed",
    "checkpoint",
    "selection",
    "case",
    "class",
    "metric",
    "value",
)
"""Columns of the long table, in this order."""

POLICY = ("evaluate_on", "unit", "nsd_tolerance", "region", "empty")
"""What decides the meaning of a score, and must be the same in one table."""

_REQUIRED: dict[str, type] = {
    "dataset": str,
    "method": str,
    "labeled": int,
    "seed": int,
    "selection": str,
    "split_sha256": str,
    "status": str,
}
_FACTS = ("case", "class", "unit", "empty", "volume_ml", "reference_ml")
"""Columns of a scores file that are no metric."""


@dataclass(frozen=True)
class Run:
    """A run folder, as its files say.

    Attributes:
        path: the folder.
        record: contents of ``run.json``.
        config: contents of ``config.yaml``.
        policies: of each scored checkpoint, the entries of :data:`POLICY` for its test scores; None for an
            entry that the file does not state.
    """

    path: Path
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    policies: Mapping[Checkpoint, Mapping[str, Any]]

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.record["dataset"])

    @property
    def setting(self) -> str:
        """The row's name in a table; the method's name where nobody named it."""
        return str(self.record.get("setting") or self.record["method"])

    @property
    def labeled(self) -> int:
        """Number of labelled cases."""
        return int(self.record["labeled"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.record["seed"])

    @property
    def selection(self) -> Selection:
        """Who chose the best checkpoint."""
        chosen: Selection = self.record["selection"]
        return chosen

    @property
    def status(self) -> Status:
        """How far the run is."""
        status: Status = self.record["status"]
        return status

    @property
    def finished(self) -> bool:
        """Whether its numbers may be used."""
        return self.status == "finished"

    def scores(self, checkpoint: Checkpoint, subset: Subset = "test") -> pd.DataFrame | None:
        """Scores of every case and class of a checkpoint; None where there is no file.

        Returns:
            Columns case (str), class (int), unit and empty (str; "" where the file does not have them), and
            the metrics that the file has (float; NaN where one is not defined). Columns that nobody knows
            here stay as they are.

        Raises:
            InputError: a damaged file.
        """
        path = RunFolder(self.path).scores(checkpoint, subset)
        return _read_scores(path) if path.is_file() else None

    @property
    def of_images(self) -> bool:
        """Whether its scores are of images, whose numbers are pooled."""
        return any(policy["unit"] == PIXEL for policy in self.policies.values())

    def pooled(self, checkpoint: Checkpoint, subset: Subset = "test") -> PooledRun:
        """What the numbers of scored images are pooled from.

        Raises:
            InputError: a file that is missing, damaged, or of other images than the scores beside it.
        """
        path = RunFolder(self.path).sums(checkpoint, subset)
        sums, scores = ImageSums.load(path), self.scores(checkpoint, subset)
        if scores is not None and set(sums.cases) != set(scores["case"]):
            raise InputError(path, "is of other images than the scores beside it", _SCORE_AGAIN)
        return PooledRun(sums)

    def reliability(self, checkpoint: Checkpoint, subset: Subset = "test") -> dict[str, Any] | None:
        """The pooled reliability of a checkpoint, with its policy and diagram; None where there is no file.

        Raises:
            InputError: a damaged file.
        """
        path = RunFolder(self.path).reliability(checkpoint, subset)
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(path, "cannot be read as JSON", _SCORE_AGAIN) from error
        if not isinstance(content, dict):
            raise InputError(path, "holds no reliability", _SCORE_AGAIN)
        return content


_SCORE_AGAIN = "delete it and score the checkpoint again"


def find_runs(folders: Iterable[str | Path]) -> list[Run]:
    """All runs in some folders, in the order of data set, labelled count, setting and seed.

    Args:
        folders: each is a run or holds runs at any depth; one found twice counts once.

    Raises:
        InputError: no such folder, no run in one of them, or a damaged file.
    """
    runs: dict[Path, Run] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(folder, "no such folder", "give folders of runs, or folders that hold them")
        records = sorted(folder.rglob("run.json"))
        if not records:
            raise InputError(folder, "holds no run.json at any depth", "give folders of runs")
        for record in records:
            runs.setdefault(record.parent.resolve(), _read_run(record.parent))
    return sorted(runs.values(), key=lambda run: (run.dataset, run.labeled, run.setting, run.seed, run.path))


def long_table(runs: Sequence[Run], *, subset: Subset = "test") -> pd.DataFrame:
    """Every score of every finished run, one a row; of images, every pooled number of theirs.

    The runs' own order does not matter: rows are sorted. Metrics of a case as a whole (reliability) stand in
    the rows of all its classes, as they do in the files. Values that are not defined stay NaN; a metric that
    a run's file does not have (it was scored before the metric existed) has no row of that run.

    Args:
        runs: of :func:`find_runs`; what is not finished is left out, and named by
            :func:`medssl.protocol.analysis.cautions.find_cautions`.
        subset: the cases: ``"test"``, or the ``"validation"`` cases that chose the best checkpoint.

    Returns:
        :data:`COLUMNS`; ``method`` is the setting's name, ``value`` a float, ``class`` counts from 1. Of
        images the rows are those of :meth:`medssl.protocol.analysis.pooled_runs.PooledRun.rows`, with its
        column after these.

    Raises:
        InputError: a damaged file, or no score at all.
    """
    parts = []
    for run in runs:
        for checkpoint in get_args(Checkpoint):
            scores = run.scores(checkpoint, subset) if run.finished else None
            if scores is None:
                continue
            if scores["unit"].eq(PIXEL).all():
                part = run.pooled(checkpoint, subset).rows()
            else:
                part = scores.melt(["case", "class"], known_metrics(scores), "metric", "value")
            part["dataset"], part["labeled"], part["method"] = run.dataset, run.labeled, run.setting
            part["seed"], part["checkpoint"], part["selection"] = run.seed, checkpoint, run.selection
            parts.append(part)
    if not parts:
        where = runs[0].path if runs else "runs"
        raise InputError(where, f"no finished run has {subset} scores", "finish and score a run first")
    table = pd.concat(parts, ignore_index=True)
    table = table[[*COLUMNS, *table.columns.intersection([SUMS])]]
    order = {metric.name: index for index, metric in enumerate(METRICS)}
    table = table.sort_values(
        ["dataset", "labeled", "method", "seed", "checkpoint", "metric", "case", "class"],
        key=lambda column: column.map(order) if column.name == "metric" else column,
        kind="stable",
    )
    return table.reset_index(drop=True)


def known_metrics(scores: pd.DataFrame) -> list[str]:
    """The metrics that a scores file has, of those that this version knows."""
    return [name for name in SCORE_COLUMNS if name in scores]


def unknown_columns(scores: pd.DataFrame) -> list[str]:
    """The columns of a scores file that this version does not know, such as a later version's metric."""
    return [str(name) for name in scores if name not in (*_FACTS, *SCORE_COLUMNS)]


def require_comparable(runs: Sequence[Run]) -> None:
    """Refuse runs whose numbers must not stand in one table.

    Runs of scans and of images have no number in common. Finished runs of one data set must have been scored
    on the same test cases (by the contents of their files and by name) under the same policy
    (:data:`POLICY`); those of one labelled count must have the same case lists; the scores of a run must be
    of its own lists; and no setting may hold a seed twice. What a run does not state (null) is not compared;
    :func:`medssl.protocol.analysis.cautions.find_cautions` names it.

    Raises:
        InputError: the first difference, with the two runs.
    """
    first: dict[tuple[Any, ...], tuple[Run, Any]] = {}

    def same(run: Run, key: tuple[Any, ...], value: Any, what: str, remedy: str) -> None:
        if value is None:
            return
        other, expected = first.setdefault((what, *key), (run, value))
        if value != expected:
            fault = f"differs from {other.path} in its {what} ({_difference(value, expected)})"
            raise InputError(run.path, fault, remedy)

    apart = "report them apart"
    seen: dict[tuple[Any, ...], Run] = {}
    for run in (run for run in runs if run.finished):
        identity = (run.dataset, run.labeled, run.setting, run.seed)
        if identity in seen:
            fault = f"is seed {run.seed} of {run.setting!r} as {seen[identity].path} is"
            raise InputError(run.path, fault, "leave one of them out, or give it a setting of its own")
        seen[identity] = run
        if run.policies:
            kind = "of images" if run.of_images else "of scans"
            same(run, (), kind, "kind of scores", "report scans and images apart")
        same(run, (run.dataset,), run.record.get("test_fingerprint"), "test set (test_fingerprint)", apart)
        split = run.record["split_sha256"]
        one_list = "give all runs one datalist (datalist_file), or report them apart"
        same(run, (run.dataset, run.labeled), split, "split (split_sha256)", one_list)
        _refuse_other_split(run)
        for checkpoint, policy in run.policies.items():
            for name in POLICY:
                title = f"metric policy ({name} of {checkpoint})"
                same(run, (run.dataset, name), policy.get(name), title, "score them under one policy")
            scores = run.scores(checkpoint)
            if scores is not None:
                file = RunFolder(run.path).scores(checkpoint).name
                units = " and ".join(sorted(set(scores["unit"]))) or None
                same(run, (run.dataset,), units, f"unit of distances ({file})", apart)
                cases = frozenset(zip(scores["case"], scores["class"], strict=True))
                same(run, (run.dataset,), cases, f"test cases ({file})", apart)


def _refuse_other_split(run: Run) -> None:
    """Refuse scores of other case lists than those of the training, whose test cases it may have seen."""
    for checkpoint, subset in product(get_args(Checkpoint), get_args(Subset)):
        scored = (run.reliability(checkpoint, subset) or {}).get("split_sha256")
        if scored not in (None, run.record["split_sha256"]):
            where = RunFolder(run.path).reliability(checkpoint, subset)
            fault = f"of another split than the training ({_difference(scored, run.record['split_sha256'])})"
            raise InputError(where, fault, _SCORE_AGAIN)


def _difference(value: Any, expected: Any) -> str:
    if isinstance(value, frozenset):
        only = sorted(f"{case} class {label}" for case, label in value ^ expected)
        return f"{len(only)} rows are in one of them only, such as {only[0]}"
    short = [text[:12] if len(text) == 64 else text for text in (str(value), str(expected))]
    return f"{short[0]} against {short[1]}"


def _read_run(path: Path) -> Run:
    record = RunFolder(path).read()
    for name, kind in _REQUIRED.items():
        if not isinstance(record.get(name), kind) or isinstance(record[name], bool):
            fault = f"{name!r} is {record.get(name)!r}"
            raise InputError(path / "run.json", fault, "not the record of a run: leave the folder out")
    for name, known in (("selection", get_args(Selection)), ("status", get_args(Status))):
        if record[name] not in known:
            fault = f"{name} is {record[name]!r}, not one of {', '.join(known)}"
            raise InputError(path / "run.json", fault, "leave the folder out")
    try:
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(path / "config.yaml", "missing or damaged", "leave the folder out") from error
    if not isinstance(config, dict):
        raise InputError(path / "config.yaml", "holds no settings", "leave the folder out")
    run = Run(path, record, config, {})
    policies = {}
    for checkpoint in get_args(Checkpoint):
        if RunFolder(path).scores(checkpoint).is_file():
            content = run.reliability(checkpoint) or {}
            stated = content.get("policy") or {"region": content.get("region")}
            policies[checkpoint] = {name: stated.get(name) for name in POLICY}
    return Run(path, record, config, policies)


def _read_scores(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(path, "cannot be read as a CSV file of scores", _SCORE_AGAIN) from error
    metrics = known_metrics(table)
    for name in ("case", "class"):
        if name not in table:
            raise InputError(path, f"has no column {name!r}", _SCORE_AGAIN)
    if not any(metric.name in metrics for metric in CLASS_METRICS):
        raise InputError(path, "has no metric of a class", _SCORE_AGAIN)
    if table.empty:
        raise InputError(path, "holds no case", _SCORE_AGAIN)
    for name in ("unit", "empty"):
        if name not in table:
            table[name] = ""
    for name in ("class", *metrics):
        try:
            # Python's own float reads back exactly what was written; pandas' parser may be one unit off.
            numbers = [math.nan if text == "" else float(text) for text in table[name]]
        except ValueError as error:
            raise InputError(path, f"column {name!r}: {error}", _SCORE_AGAIN) from error
        table[name] = pd.Series(numbers, dtype=float)
    if table["class"].isna().any() or table.duplicated(["case", "class"]).any():
        raise InputError(path, "does not hold one row a case and class", _SCORE_AGAIN)
    table["class"] = table["class"].astype(int)
    return table
