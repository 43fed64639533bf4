"""Is one setting better than another? Differences, their intervals, and tests over cases.

Nothing is tested over seeds: of five pairs the signed-rank test can give no two-sided p below 0.0625,
whatever they are. Tests run over test cases, each with its mean over the seeds; what the seeds vary is in the
interval of the difference and in the probability of improvement.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from medssl.common.errors import unknown_name
from medssl.metrics.table import find_metric
from medssl.protocol.analysis.bootstrap import (
    RESAMPLES,
    Floats,
    Group,
    PooledScores,
    Scores,
    case_draws,
    groups,
    interval,
    nan_mean,
    run_draws,
)

COMPARISON = [
    *Group._fields,
    *("a", "b", "difference", "low", "high", "simultaneous_low", "simultaneous_high"),
    *("cases_low", "cases_high", "better"),
    *("probability", "probability_low", "probability_high", "cases", "p", "p_holm"),
]
"""Columns of :func:`compare_settings`."""

ENOUGH_RUNS = 3
"""With fewer runs of a setting nothing is said of how runs differ."""

# Scores are written with six decimals. Means that are equal must not differ by the last bit: the signed-rank
# test would rank that, and a tie would be won.
_DECIMALS = 9


def compare_settings(
    table: pd.DataFrame, *, baseline: str | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """All pairs of settings of one data set and labelled count, or all settings against a baseline.

    Args:
        table: the long table.
        baseline: name of a method; groups that lack it give no row. None compares every pair.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Columns dataset, labeled, checkpoint, metric, a, b and

        - difference: mean of ``a`` minus mean of ``b`` over runs and cases; low, high: its 95% bootstrap
          interval, runs of each and cases of both resampled; cases_low, cases_high: cases alone, which is
          what a larger test set would narrow;
        - simultaneous_low, simultaneous_high: the same for all rows of one data set, labelled count,
          checkpoint and metric at once (:func:`simultaneous_intervals`): where one of them excludes 0, the
          difference may be claimed; NaN with fewer than :data:`ENOUGH_RUNS` runs of either;
        - better: "a", "b" or, at no difference, "";
        - probability: that a run of ``a`` is better than one of ``b`` (:func:`probability_of_improvement`);
          probability_low, probability_high: its interval, resampled as that of the difference;
        - cases: pairs that the test has, or images; p: two-sided Wilcoxon signed-rank test over cases;
          p_holm: corrected over all rows of the same checkpoint and metric, data sets and labelled counts
          together. Both are NaN for a number that is pooled over images, since no image has one.

    Raises:
        InputError: no method has the baseline's name.
    """
    if baseline is not None and baseline not in set(table["method"]):
        raise unknown_name("baseline", baseline, set(table["method"]))
    rows = []
    for group, methods in groups(table):
        if baseline is None:
            pairs = list(combinations(sorted(methods), 2))
        else:
            pairs = [(name, baseline) for name in sorted(methods) if name != baseline and baseline in methods]
        draws = case_draws(_number_of_cases(methods), group.dataset, resamples=resamples, seed=seed)
        both = {
            name: scores.resampled(
                runs=run_draws(len(scores.seeds), group, name, resamples=resamples, seed=seed),
                cases=draws,
            )
            for name, scores in methods.items()
        }
        cases = {name: scores.resampled(cases=draws) for name, scores in methods.items()}
        spans = _simultaneous(pairs, methods, both)
        for (a, b), (low, high) in zip(pairs, spans, strict=True):
            rows.append(
                {**group._asdict(), "a": a, "b": b}
                | _difference(methods[a], methods[b], group)
                | _interval_of_difference(both[a], both[b], "")
                | {"simultaneous_low": low, "simultaneous_high": high}
                | _interval_of_difference(cases[a], cases[b], "cases_")
                | _improvement(methods[a], methods[b], both[a], both[b], group)
                | _signed_rank(methods[a], methods[b])
            )
    result = pd.DataFrame(rows, columns=COMPARISON)
    for _, family in result.groupby(["checkpoint", "metric"]):
        result.loc[family.index, "p_holm"] = holm(family["p"].to_numpy(float))
    return result


def simultaneous_intervals(observed: Floats, drawn: Floats) -> Floats:
    """Intervals that hold all of several differences at once in 95% of the experiments.

    Each is the difference plus and minus its bootstrap standard error times one number for all: the 95th
    percentile of the largest deviation, in standard errors, among the differences of a resample (the maximal
    t statistic; Westfall and Young, Resampling-based multiple testing, 1993). Differences that go together
    cost less than Bonferroni's correction would take.

    Args:
        observed: differences, ``(pairs,)``.
        drawn: the same of bootstrap samples, ``(resamples, pairs)``; NaN where undefined.

    Returns:
        ``(pairs, 2)``; NaN for a difference that is none.
    """
    deviation = np.abs(drawn - observed)
    error = np.sqrt(nan_mean((drawn - nan_mean(drawn, axis=0)) ** 2, axis=0))
    scaled = np.divide(deviation, error, out=np.full(drawn.shape, -np.inf), where=error > 0)
    largest = np.where(np.isnan(scaled), -np.inf, scaled).max(1, initial=-np.inf)
    largest = largest[np.isfinite(largest)]
    factor = float(np.percentile(largest, 95)) if len(largest) else 0.0
    return np.stack([observed - factor * error, observed + factor * error], axis=1)


def probability_of_improvement(a: Floats, b: Floats, *, lower_is_better: bool = False) -> Floats:
    """P(A > B): the share of pairs of runs in which ``a`` is the better one, ties counting a half.

    The Mann-Whitney statistic divided by the number of pairs (Agarwal et al., NeurIPS 2021).

    Args:
        a: values of runs, ``(..., n)``; a NaN takes part in no pair.
        b: values of runs, ``(..., m)``.
        lower_is_better: whether the better one is the smaller.

    Returns:
        In [0, 1], ``(...)``; NaN without a pair.
    """
    difference = np.round(a[..., :, None] - b[..., None, :], _DECIMALS)
    won: Floats = np.sign(-difference if lower_is_better else difference) / 2 + 0.5
    return nan_mean(won.reshape(*won.shape[:-2], -1), axis=-1)


def wilcoxon_over_cases(a: Floats, b: Floats) -> float:
    """Two-sided p of the paired Wilcoxon signed-rank test (``scipy.stats.wilcoxon``).

    Args:
        a: values of cases, ``(cases,)``; a pair with a NaN is left out.
        b: of the same cases.

    Returns:
        In (0, 1]; 1 where all differences are 0, NaN without a pair. It cannot fall below
        ``2 ** (1 - cases)``.
    """
    difference = np.round(a - b, _DECIMALS)
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        return float("nan")
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference).pvalue)


def holm(p_values: Floats) -> Floats:
    """Holm's step-down correction (Scandinavian Journal of Statistics 1979); NaN is in no family.

    Args:
        p_values: of one family, ``(tests,)``.

    Returns:
        Corrected values in [0, 1], in the same order.
    """
    corrected = np.full(len(p_values), np.nan)
    order = np.argsort(p_values, kind="stable")  # NaN last
    order = order[~np.isnan(p_values[order])]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return corrected


def _difference(a: Scores, b: Scores, group: Group) -> dict[str, float | str]:
    difference = float(nan_mean(a.runs, axis=0) - nan_mean(b.runs, axis=0))
    gain = np.round(-difference if find_metric(group.metric).lower_is_better else difference, _DECIMALS)
    return {"difference": difference, "better": "a" if gain > 0 else "b" if gain < 0 else ""}


def _simultaneous(
    pairs: Sequence[tuple[str, str]], methods: Mapping[str, Scores], drawn: Mapping[str, Floats]
) -> Floats:
    """Of the pairs of a group, ``(pairs, 2)``; those with too few runs are NaN and count for no other."""
    enough = [min(len(methods[name].seeds) for name in pair) >= ENOUGH_RUNS for pair in pairs]
    spans: Floats = np.full((len(pairs), 2), np.nan)
    if any(enough):
        kept = [pair for pair, is_enough in zip(pairs, enough, strict=True) if is_enough]
        observed = [nan_mean(methods[a].runs, axis=0) - nan_mean(methods[b].runs, axis=0) for a, b in kept]
        differences = [nan_mean(drawn[a], axis=1) - nan_mean(drawn[b], axis=1) for a, b in kept]
        spans[enough] = simultaneous_intervals(np.array(observed), np.stack(differences, axis=1))
    return spans


def _interval_of_difference(a: Floats, b: Floats, prefix: str) -> dict[str, float]:
    low, high = interval(nan_mean(a, axis=1) - nan_mean(b, axis=1))
    return {f"{prefix}low": low, f"{prefix}high": high}


def _improvement(a: Scores, b: Scores, drawn_a: Floats, drawn_b: Floats, group: Group) -> dict[str, float]:
    lower = find_metric(group.metric).lower_is_better
    low, high = interval(probability_of_improvement(drawn_a, drawn_b, lower_is_better=lower))
    value = float(probability_of_improvement(a.runs, b.runs, lower_is_better=lower))
    return {"probability": value, "probability_low": low, "probability_high": high}


def _signed_rank(a: Scores, b: Scores) -> dict[str, float]:
    if isinstance(a, PooledScores):
        return {"cases": len(a.cases), "p": float("nan")}
    pairs = int((~np.isnan(a.of_cases - b.of_cases)).sum())
    return {"cases": pairs, "p": wilcoxon_over_cases(a.of_cases, b.of_cases)}


def _number_of_cases(methods: dict[str, Scores]) -> int:
    return len(next(iter(methods.values())).cases)
