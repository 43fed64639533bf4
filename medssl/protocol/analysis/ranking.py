"""Would the same settings win again? Ranks under the bootstrap."""

import numpy as np
import pandas as pd
from scipy import stats

from medssl.metrics.table import find_metric
from medssl.protocol.analysis.bootstrap import (
    RESAMPLES,
    Floats,
    case_draws,
    groups,
    interquartile_mean,
    interval,
    run_draws,
)

_DECIMALS = 9


def rank_stability(table: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """How far the order of the settings depends on the runs and cases at hand.

    Settings are ranked by the inter-quartile mean over runs, 1 being the best; equal ones share their mean
    rank. A resample draws the runs of every setting and, the same for all, the cases. A setting without any
    value takes no part.

    Args:
        table: the long table.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One row a data set, labelled count, checkpoint, metric and method, best first, with

        - rank: observed; mean_rank, rank_low, rank_high: over resamples, with the central 95%;
        - first: share of resamples in which it ranks first; k that tie get 1/k each;
        - same_ranking: share of resamples in which the whole order is the observed one;
        - kendall_tau: mean over resamples of tau-b between their order and the observed one, which is 1 where
          nothing changes; NaN where all are equal.

        The last two are the same for all methods of a group. A group of one method gives no row.
    """
    rows = []
    for group, methods in groups(table):
        sign = -1.0 if find_metric(group.metric).lower_is_better else 1.0
        with_value = {name: scores for name, scores in methods.items() if not np.isnan(scores.runs).all()}
        if len(with_value) < 2:
            continue
        observed, columns = [], []
        for name, scores in with_value.items():
            draws = case_draws(len(scores.cases), group.dataset, resamples=resamples, seed=seed)
            runs = run_draws(len(scores.seeds), group, name, resamples=resamples, seed=seed)
            observed.append(interquartile_mean(scores.runs))
            columns.append(interquartile_mean(scores.resampled(runs=runs, cases=draws)))
        ranks = _ranks(sign * np.array(observed)[None])[0]
        values = np.stack(columns, 1)
        drawn = _ranks(sign * values[~np.isnan(values).any(1)])
        tied = (drawn == drawn.min(1, keepdims=True)).astype(float)
        first = (tied / tied.sum(1, keepdims=True)).mean(0)
        same = float((drawn == ranks).all(1).mean())
        taus = kendall_taus(drawn, ranks)
        tau = float(np.nanmean(taus)) if not np.isnan(taus).all() else float("nan")
        for index in np.argsort(ranks, kind="stable"):
            low, high = interval(drawn[:, index])
            rows.append(
                {**group._asdict(), "method": list(with_value)[index], "rank": float(ranks[index])}
                | {"mean_rank": float(drawn[:, index].mean()), "rank_low": low, "rank_high": high}
                | {"first": float(first[index]), "same_ranking": same, "kendall_tau": tau}
            )
    columns_of_result = ["dataset", "labeled", "checkpoint", "metric", "method", "rank", "mean_rank"]
    columns_of_result += ["rank_low", "rank_high", "first", "same_ranking", "kendall_tau"]
    return pd.DataFrame(rows, columns=columns_of_result)


def kendall_taus(rankings: Floats, reference: Floats) -> Floats:
    """Kendall's tau-b of many rankings with one, as ``scipy.stats.kendalltau`` gives it of one at a time.

    Args:
        rankings: ``(n, items)``.
        reference: ``(items,)``.

    Returns:
        In [-1, 1], ``(n,)``; NaN where either is constant.
    """
    first, second = np.triu_indices(rankings.shape[1], 1)
    orders = np.sign(rankings[:, first] - rankings[:, second])
    reference_order = np.sign(reference[first] - reference[second])
    scale = np.sqrt((orders**2).sum(1) * (reference_order**2).sum())
    taus: Floats = np.full(len(rankings), np.nan)
    np.divide(orders @ reference_order, scale, out=taus, where=scale > 0)
    return taus


def _ranks(values: Floats) -> Floats:
    """Along the last axis, the largest being 1."""
    ranks: Floats = stats.rankdata(-np.round(values, _DECIMALS), axis=-1)
    return ranks
