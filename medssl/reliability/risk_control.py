"""What cases allow to promise of a new one: split conformal bounds, and conformal risk control.

Sources: Vovk et al. 2005, "Algorithmic Learning in a Random World"; Angelopoulos et al. 2022, "Conformal Risk
Control". Both need one thing: the new case is exchangeable with the calibration cases, which had no part in
the model. Nothing is assumed of the model or of the shape of any distribution. MAPIE has both for tables of
predictions, and controls a loss over a grid of candidates; a loss that falls in steps needs no grid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medssl.reliability.conformal.quantiles import conformal_rank

_SLACK = 1e-9  # of (n + 1) risk, which floating point may leave just below a whole number


def fewest_cases(risk: float) -> int:
    """The smallest number of calibration cases that allows a promise at a risk: ``ceil(1 / risk) - 1``.

    >>> fewest_cases(0.1), fewest_cases(0.05)
    (9, 19)
    """
    return math.ceil(1 / risk - _SLACK) - 1


def conformal_bound(scores: Sequence[float], risk: float) -> float:
    """The score of rank ``conformal_rank``: a new case's is at most this with probability ``1 - risk``.

    The probability is over calibration cases and new case together, and at most ``1 - risk + 1 / (n + 1)``
    where no two scores are equal.

    ``conformal_quantile`` is the same for tensors.

    Args:
        scores: one a calibration case.
        risk: in (0, 1).

    Returns:
        Infinity where the cases are too few.

    >>> conformal_bound([0.3, 0.1, 0.2], 0.5)
    0.2
    """
    if not 0 < risk < 1:
        raise ValueError(f"risk must lie between 0 and 1, got {risk}")
    rank = conformal_rank(len(scores), risk)
    return sorted(scores)[rank - 1] if rank <= len(scores) else math.inf


def coverage_to_expect(count: int, risk: float, *, quantile: float = 0.05) -> float:
    """The coverage that all but a share ``quantile`` of calibrations with so many cases reach at least.

    A calibration's own coverage, over endless new cases, has a Beta distribution with parameters ``rank`` and
    ``n + 1 - rank`` where scores are continuous; only its mean is what is promised (Vovk 2012, "Conditional
    validity of inductive conformal predictors").

    >>> round(coverage_to_expect(40, 0.1), 3), round(coverage_to_expect(1000, 0.1), 3)
    (0.817, 0.884)
    """
    rank = conformal_rank(count, risk)
    return float(stats.beta.ppf(quantile, rank, count + 1 - rank)) if rank <= count else 1.0


@dataclass(frozen=True)
class FallingLoss:
    """The loss of one case at every width, which falls in steps and never rises.

    Attributes:
        widths: ``(m,)`` ascending from 0.
        losses: ``(m,)`` in [0, 1], the loss from each width to just before the next.
    """

    widths: NDArray[np.float64]
    losses: NDArray[np.float64]

    @classmethod
    def of_distances(cls, distances: NDArray[np.floating], total: int) -> "FallingLoss":
        """The share of ``total`` elements whose distance is larger than the width.

        Args:
            distances: of those elements that a width of 0 loses, ``(d,)``; the others need none.
            total: of all elements; where it is 0 nothing can be lost.

        >>> loss = FallingLoss.of_distances(np.array([2.0, 1.0, 2.0]), 10)
        >>> [float(loss.at(width)) for width in (0, 1, 1.5, 2)]
        [0.3, 0.2, 0.2, 0.0]
        """
        widths, counts = np.unique(np.asarray(distances, np.float64), return_counts=True)
        widths = np.concatenate([[0.0], widths])
        left = len(distances) - np.concatenate([[0], np.cumsum(counts)])
        return cls(widths, left / max(total, 1))

    def at(self, width: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """The loss at one width, or at each of many."""
        losses: NDArray[np.float64] = self.losses[np.searchsorted(self.widths, width, side="right") - 1]
        return losses


def largest_loss(losses: Sequence[FallingLoss]) -> FallingLoss:
    """The largest of several losses of one case at every width."""
    widths = np.unique(np.concatenate([loss.widths for loss in losses]))
    return FallingLoss(widths, np.max([loss.at(widths) for loss in losses], axis=0))


def controlled_width(losses: Sequence[FallingLoss], risk: float) -> float:
    """The smallest width at which the expected loss of a new case is at most ``risk``.

    The smallest ``w`` with ``n / (n + 1) mean_i L_i(w) + 1 / (n + 1) <= risk`` (Angelopoulos et al. 2022,
    section 1.1, with losses in [0, 1]).

    Args:
        losses: one a calibration case.
        risk: in (0, 1).

    Returns:
        Infinity where the cases are too few, which is where a loss of 1 of the new case alone is too much.
    """
    budget = risk * (len(losses) + 1) - 1 + _SLACK
    if budget < 0:
        return math.inf
    widths = np.unique(np.concatenate([loss.widths for loss in losses]))
    summed = np.sum([loss.at(widths) for loss in losses], axis=0)
    return float(widths[np.argmax(summed <= budget)]) if summed[-1] <= budget else math.inf
