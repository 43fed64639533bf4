"""From scores to the number of a case and of a run, and how both are drawn again in a bootstrap."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medssl.common.draws import digest, generator
from medssl.metrics.table import METRICS
from medssl.protocol.analysis.pooled_runs import SUMS, PooledRun, case_weights

Floats = NDArray[np.float64]

_ORDER = [metric.name for metric in METRICS]

RESAMPLES = 2000
"""Of every bootstrap."""


@dataclass(frozen=True)
class Scores:
    """One setting's numbers in one metric, a run's number being the mean over its cases.

    Attributes:
        values: of every run and case, mean over classes; ``(runs, cases)``, NaN where it is not defined.
        seeds: of the rows, ascending.
        cases: of the columns, in the order of their names.
        missing: values that were NaN in the table (cases times classes).
    """

    values: Floats
    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    missing: int

    @property
    def runs(self) -> Floats:
        """Mean of every run over its cases, ``(runs,)``; NaN for a run without any value."""
        return nan_mean(self.values, axis=1)

    @property
    def of_cases(self) -> Floats:
        """Mean of every case over the runs, ``(cases,)``."""
        return nan_mean(self.values, axis=0)

    def resampled(
        self, *, runs: NDArray[np.int64] | None = None, cases: NDArray[np.int64] | None = None
    ) -> Floats:
        """Numbers of the runs of bootstrap samples: see :func:`resample_runs`."""
        return resample_runs(self.values, runs=runs, cases=cases)


@dataclass(frozen=True)
class PooledScores(Scores):
    """One setting's numbers in one metric that is pooled over images: a function of sums over them.

    There is no number of an image, hence ``values`` is NaN throughout, and nothing is tested over images.

    Attributes:
        pooled: the runs, in the order of ``seeds``, over the images in the order of ``cases``.
        metric: its name.
        classes: whose mean it is, where it is of classes.
    """

    pooled: tuple[PooledRun, ...]
    metric: str
    classes: tuple[int, ...]

    @property
    def runs(self) -> Floats:
        """The number of every run, ``(runs,)``."""
        numbers: Floats = self.resampled()[0]
        return numbers

    def resampled(
        self, *, runs: NDArray[np.int64] | None = None, cases: NDArray[np.int64] | None = None
    ) -> Floats:
        """Numbers of the runs of bootstrap samples, runs and images crossed as in :func:`resample_runs`."""
        return draw_runs(np.stack([self._numbers(run, cases) for run in self.pooled]), runs)

    def _numbers(self, run: PooledRun, cases: NDArray[np.int64] | None) -> Floats:
        pooled = run.pooled(cases)
        if self.metric in pooled:
            return pooled[self.metric]
        return nan_mean(run.class_iou(cases)[:, list(self.classes)], axis=1)


def scores(table: pd.DataFrame, cases: Sequence[str]) -> Scores:
    """Rows of one setting, checkpoint and metric as a matrix over these cases; the rows' order is free.

    Rows that name sums of images (:data:`~medssl.protocol.analysis.pooled_runs.SUMS`) are pooled instead.
    """
    if SUMS in table:
        return _pooled_scores(table, cases)
    # A fixed order of classes: the last digit of a mean depends on it.
    table = table.sort_values(["seed", "case", "class"])
    numbers = table.groupby(["seed", "case"])["value"].mean().unstack("case").reindex(columns=list(cases))
    return Scores(
        values=numbers.to_numpy(float),
        seeds=tuple(numbers.index.astype(int)),
        cases=tuple(cases),
        missing=int(table["value"].isna().sum()),
    )


def _pooled_scores(table: pd.DataFrame, cases: Sequence[str]) -> PooledScores:
    by_seed = table.sort_values("seed").drop_duplicates("seed")
    return PooledScores(
        values=np.full((len(by_seed), len(cases)), np.nan),
        seeds=tuple(by_seed["seed"].astype(int)),
        cases=tuple(cases),
        missing=int(table["value"].isna().sum()),
        pooled=tuple(by_seed[SUMS]),
        metric=str(table["metric"].iloc[0]),
        classes=tuple(sorted(set(table["class"].astype(int)))),
    )


class Group(NamedTuple):
    """What the methods of one comparison have in common."""

    dataset: str
    labeled: int
    checkpoint: str
    metric: str


def groups(table: pd.DataFrame) -> Iterator[tuple[Group, dict[str, Scores]]]:
    """Every group of a long table with the scores of its methods, whose columns are the same cases.

    Of images all runs of a group must have the same
    (:func:`medssl.protocol.analysis.store.require_comparable`).
    """
    parts = {
        Group(str(part["dataset"].iloc[0]), int(part["labeled"].iloc[0]), *map(str, key[2:])): part
        for key, part in table.groupby(list(Group._fields))
    }
    for group in sorted(parts, key=lambda g: (*g[:3], _ORDER.index(g.metric))):
        part = parts[group]
        cases = part[SUMS].iloc[0].cases if SUMS in table else sorted(set(part["case"]))
        yield group, {str(name): scores(rows, cases) for name, rows in parts[group].groupby("method")}


def nan_mean(values: Floats, *, axis: int) -> Floats:
    """Mean of what is not NaN; NaN, and no warning, where nothing is left."""
    defined = ~np.isnan(values)
    count = defined.sum(axis)
    total: Floats = np.where(defined, values, 0.0).sum(axis)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def case_draws(count: int, dataset: str, *, resamples: int, seed: int) -> NDArray[np.int64]:
    """Indices of cases, ``(resamples, count)``: one draw for a whole data set, so that methods are paired."""
    return _draws(count, resamples, seed, "cases", dataset)


def run_draws(count: int, group: Group, method: str, *, resamples: int, seed: int) -> NDArray[np.int64]:
    """Indices of runs, ``(resamples, count)``: independent between methods, the same for all metrics."""
    key = (group.dataset, group.labeled, group.checkpoint, method)
    return _draws(count, resamples, seed, "runs", *key)


def _draws(count: int, resamples: int, seed: int, *purpose: object) -> NDArray[np.int64]:
    # Seeded by the purpose: a method more in a table changes no other's interval.
    entropy = digest("\x1f".join(map(str, purpose)))[:16]
    return generator(seed, *entropy).integers(0, count, (resamples, count))


def resample_runs(
    values: Floats,
    *,
    runs: NDArray[np.int64] | None = None,
    cases: NDArray[np.int64] | None = None,
) -> Floats:
    """Values of the runs of bootstrap samples.

    Runs and cases are crossed: every run is scored on the same cases. So one draw of cases holds for all
    runs of a resample (the pigeonhole bootstrap: Owen, Annals of Applied Statistics 2007). Cases drawn anew
    for each run would average the luck of the test set away, and the interval would be too narrow.

    Args:
        values: ``(runs, cases)``, NaN where not defined.
        runs: indices ``(resamples, runs)``; None keeps the runs.
        cases: indices ``(resamples, cases)``; None keeps the cases.

    Returns:
        ``(resamples, runs)``; NaN for a run without any value among the drawn cases.
    """
    if cases is None:
        means = nan_mean(values, axis=1)[:, None]
    else:
        weights = case_weights(cases)
        defined = ~np.isnan(values)
        total, number = np.where(defined, values, 0.0) @ weights.T, defined @ weights.T
        means = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return draw_runs(means, runs)


def draw_runs(means: Floats, runs: NDArray[np.int64] | None) -> Floats:
    """Numbers of drawn runs.

    Args:
        means: of every run in every resample of the cases, ``(runs, resamples)``; one column where the cases
            are kept.
        runs: indices ``(resamples, runs)``; None keeps the runs.

    Returns:
        ``(resamples, runs)``.
    """
    if runs is None:
        return means.T
    resample = np.arange(len(runs))[:, None] if means.shape[1] > 1 else np.zeros((1, 1), int)
    drawn: Floats = means.T[resample, runs]
    return drawn


def interquartile_mean(values: Floats) -> Floats:
    """Mean of the middle half along the last axis, without NaN (Agarwal et al., NeurIPS 2021).

    As ``scipy.stats.trim_mean(values, 0.25)``, which has no rule for NaN: a quarter of the values, rounded
    down, is cut at each end. NaN where nothing is left.
    """
    ordered = np.sort(values, axis=-1)  # NaN last
    number = (~np.isnan(ordered)).sum(-1, keepdims=True)
    cut = number // 4
    place = np.arange(values.shape[-1])
    kept = np.where((place >= cut) & (place < number - cut), ordered, np.nan)
    return nan_mean(kept, axis=-1)


def interval(statistics: Floats) -> tuple[float, float]:
    """Central 95% of bootstrap statistics (percentiles), without NaN; NaN where nothing is left."""
    valid = statistics[~np.isnan(statistics)]
    if not len(valid):
        return float("nan"), float("nan")
    low, high = np.percentile(valid, [2.5, 97.5])
    return float(low), float(high)
