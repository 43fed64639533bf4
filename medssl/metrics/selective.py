"""Risk against coverage: what is gained by answering only where one is sure."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import digamma

from medssl.metrics.pooled import ArrayLike, PooledMetric, images_of, valid


def risk_coverage_curve(confidence: Sequence[float], risk: Sequence[float]) -> NDArray[np.float64]:
    """Mean risk of the ``n`` surest items, for ``n`` from 1 to all (El-Yaniv and Wiener 2010).

    Items of one confidence share what they add: the curve does not depend on their order.

    Args:
        confidence: of each item; higher is surer.
        risk: of each item, such as 1 where a pixel is wrong.

    Raises:
        ValueError: of different lengths, or of none.
    """
    sure, risks = np.asarray(confidence, np.float64), np.asarray(risk, np.float64)
    if sure.ndim != 1 or sure.shape != risks.shape or not len(sure):
        raise ValueError(f"confidence and risk must be one list each, got {sure.shape} and {risks.shape}")
    _, group = np.unique(-sure, return_inverse=True)
    order = np.argsort(group, kind="stable")
    mean = np.bincount(group, risks) / np.bincount(group)
    curve: NDArray[np.float64] = np.cumsum(mean[group[order]]) / np.arange(1, len(sure) + 1)
    return curve


def area_under_risk_coverage(confidence: Sequence[float], risk: Sequence[float]) -> float:
    """Mean of the risk-coverage curve (AURC; Geifman et al. 2019)."""
    return float(risk_coverage_curve(confidence, risk).mean())


class RiskCoverage(PooledMetric):
    """Area under the risk-coverage curve of pixels, by the confidence of the predicted class, streaming.

    Confidences are counted in ``bins`` of equal width in ``-log10(1 - confidence)``, since segmentations
    crowd near 1; pixels of one bin count as equally sure.

    Args:
        bins: number of bins; those above a confidence of ``1 - 1e-7`` fall into the last.
        ignore_index: class id of pixels that do not count.
    """

    def __init__(self, bins: int = 4096, *, ignore_index: int | None = None) -> None:
        super().__init__()
        self.bins, self.ignore_index = bins, ignore_index

    def update(self, probs: ArrayLike, labels: ArrayLike) -> None:
        """Add images."""
        for p, y in images_of(probs, labels):
            kept, ids = valid(p, y, self.ignore_index)
            confidence, predicted = kept.max(0)
            sure = -(1 - confidence.double()).clamp(min=1e-7).log10() / 7
            index = (sure * self.bins).long().clamp(0, self.bins - 1)
            wrong = (predicted != ids).double()
            self.add("count", torch.bincount(index, minlength=self.bins))
            self.add("wrong", torch.bincount(index, wrong, minlength=self.bins))

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coverage and the mean risk at it, after every bin that holds pixels, surest first."""
        count, wrong = (self.total(name).flip(-1).numpy() for name in ("count", "wrong"))
        filled = count > 0
        coverage, wrongs = np.cumsum(count[filled]), np.cumsum(wrong[filled])
        return coverage / max(coverage[-1:].sum(), 1), wrongs / np.maximum(coverage, 1)

    def compute(self) -> float:
        """The area in [0, 1]; NaN of nothing."""
        if "count" not in self.sums or not float(self.total("count").sum()):
            return float("nan")
        count, wrong = (self.total(name).flip(-1).numpy() for name in ("count", "wrong"))
        count, wrong = count[count > 0], wrong[count > 0]
        before, wrong_before = np.cumsum(count) - count, np.cumsum(wrong) - wrong
        rate = wrong / count
        # Within a bin the risk at its n-th pixel is (w0 + r n) / (c0 + n); the sum over n has harmonic
        # numbers: r m + (w0 - r c0) (H(c0 + m) - H(c0)).
        harmonic = _harmonic(before + count) - _harmonic(before)
        return float((rate * count + (wrong_before - rate * before) * harmonic).sum() / count.sum())


def _harmonic(n: NDArray[np.float64]) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = digamma(n + 1) + np.euler_gamma
    return numbers
