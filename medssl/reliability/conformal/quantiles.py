"""The order statistic that split conformal prediction takes of calibration scores.

numpy's ``quantile(scores, rank / n, method="inverted_cdf")`` is the same number for one list of scores; here
many lists of different lengths are read at once, and a rank beyond the last score has a meaning.
"""

import math

import torch
from torch import Tensor

CERTAIN = 1.0
"""The quantile where there are too few scores for the level: every class has a score of at most 1."""


def conformal_rank(count: int, alpha: float, *, finite_sample: bool = True) -> int:
    """Which of ``count`` scores in ascending order bounds a new one with probability ``1 - alpha``.

    Args:
        count: number of scores ``n``.
        alpha: risk, in (0, 1).
        finite_sample: ``ceil((n + 1) (1 - alpha))``, which holds for every ``n``; otherwise
            ``ceil(n (1 - alpha))``, the plain quantile.

    Returns:
        From 1; ``n + 1`` where ``n`` scores are too few for the level.

    >>> conformal_rank(92, 0.05), conformal_rank(92, 0.01)
    (89, 93)
    """
    # A product such as 100 * 0.93 may come out a trace above the whole number that it is.
    return max(1, math.ceil((count + finite_sample) * (1 - alpha) - 1e-9))


def conformal_quantile(scores: Tensor, alpha: float, *, finite_sample: bool = True) -> float:
    """The order statistic of rank :func:`conformal_rank`.

    Args:
        scores: ``(n,)`` in [0, 1].
        alpha: risk, in (0, 1).
        finite_sample: see :func:`conformal_rank`.

    Returns:
        One of the scores, or :data:`CERTAIN` where they are too few for the level.
    """
    rank = conformal_rank(len(scores), alpha, finite_sample=finite_sample)
    return CERTAIN if rank > len(scores) else float(scores.kthvalue(rank).values)


def row_quantiles(ordered: Tensor, counts: Tensor, alpha: float, *, finite_sample: bool = True) -> Tensor:
    """:func:`conformal_quantile` of many lists of scores.

    Args:
        ordered: ``(L, N)``, each row in ascending order, infinite where it has fewer than ``N`` scores.
        counts: ``(L,)`` int64, how many it has.
        alpha: risk, in (0, 1).
        finite_sample: see :func:`conformal_rank`.

    Returns:
        ``(L,)``, of the dtype of ``ordered``.
    """
    rank = ((counts + int(finite_sample)).double() * (1 - alpha) - 1e-9).ceil().clamp_min(1).long()
    picked = ordered.gather(1, rank.clamp_max(ordered.shape[1]).unsqueeze(1) - 1).squeeze(1)
    return torch.where(rank > counts, CERTAIN, picked)


def row_levels(ordered: Tensor, counts: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Interpolated quantiles of many lists of scores, as numpy takes them by default: what a list looks like.

    Args:
        ordered: as for :func:`row_quantiles`; every row has at least one score.
        counts: likewise.
        levels: in [0, 1].

    Returns:
        ``(L, len(levels))``.
    """
    place = (counts - 1).unsqueeze(1).double() * torch.tensor(levels, dtype=torch.float64)
    below, share = place.floor().long(), place.frac().to(ordered.dtype)
    above = torch.minimum(below + 1, (counts - 1).unsqueeze(1))
    return torch.lerp(ordered.gather(1, below), ordered.gather(1, above), share)
