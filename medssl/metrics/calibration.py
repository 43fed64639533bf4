"""Does a confidence of 80% mean right in 80 of 100 voxels? Calibration errors and proper scores."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from medssl.metrics.pooled import ArrayLike, PooledMetric, images_of, ratio, valid

CalibrationNorm = Literal["l1", "l2", "max"]

FINE = 2**14
"""Bins of equal width from which bins of equal mass are put together."""


@dataclass(frozen=True)
class ReliabilityDiagram:
    """A calibration curve.

    Attributes:
        count: pixels of each bin, the last one for a confidence of exactly 1.
        confidence: their mean confidence; NaN where there are none.
        accuracy: share of them that is right; NaN where there are none.
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor


class CalibrationError(PooledMetric):
    """Expected calibration error of the predicted class (Guo et al. 2017), streaming.

    The bins are torchmetrics': ``num_bins`` of equal width, each closed below and open above, and one more
    for a confidence of exactly 1. Equal to ``MulticlassCalibrationError`` (tests), in memory of
    ``num_bins + 1`` numbers.

    Args:
        num_bins: number of bins.
        ignore_index: class id of pixels that do not count.
    """

    def __init__(self, num_bins: int = 15, *, ignore_index: int | None = None) -> None:
        super().__init__()
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}")
        self.num_bins, self.ignore_index = num_bins, ignore_index

    def update(self, probs: ArrayLike, labels: ArrayLike) -> None:
        """Add images."""
        for p, y in images_of(probs, labels):
            kept, ids = valid(p, y, self.ignore_index)
            confidence, predicted = kept.max(0)
            self._count("", confidence, predicted == ids)

    def _count(self, prefix: str, confidence: Tensor, correct: Tensor) -> None:
        edges = torch.linspace(0, 1, self.num_bins + 1, dtype=confidence.dtype, device=confidence.device)
        index = (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, self.num_bins)
        length = self.num_bins + 1
        self.add(prefix + "count", torch.bincount(index, minlength=length))
        self.add(prefix + "confidence", torch.bincount(index, confidence.double(), minlength=length))
        self.add(prefix + "correct", torch.bincount(index, correct.double(), minlength=length))

    def _gaps(self, prefix: str = "") -> tuple[Tensor, Tensor]:
        """Distance of confidence and accuracy in each bin, and the bin's share of the pixels."""
        count = self.total(prefix + "count")
        divisor = count.clamp(min=1)
        gap = (self.total(prefix + "confidence") / divisor - self.total(prefix + "correct") / divisor).abs()
        return gap, count / count.sum()

    def compute(self, norm: CalibrationNorm = "l1") -> float:
        """Mean gap (``"l1"``), root of the mean squared one, or the largest, in [0, 1]; NaN of nothing."""
        return _error(*self._gaps(), norm) if float(self.total("count").sum()) else float("nan")

    def diagram(self) -> ReliabilityDiagram:
        """Confidence and accuracy bin by bin."""
        count = self.total("count")
        return ReliabilityDiagram(count, self.total("confidence") / count, self.total("correct") / count)


class ClasswiseCalibrationError(CalibrationError):
    """Static calibration error (Nixon et al. 2019): that of every class's probability, mean over classes.

    Every class counts alike, background or not; a probability of 0.1 that is right in a tenth of the pixels
    is calibrated.
    """

    def update(self, probs: ArrayLike, labels: ArrayLike) -> None:
        """Add images."""
        for p, y in images_of(probs, labels):
            kept, ids = valid(p, y, self.ignore_index)
            for k, values in enumerate(kept):
                self._count(f"{k} ", values, ids == k)

    def compute(self, norm: CalibrationNorm = "l1") -> float:
        """Mean over classes; NaN of nothing."""
        prefixes = sorted({name.split()[0] + " " for name in self.sums})
        if not prefixes or not float(self.total(prefixes[0] + "count").sum()):
            return float("nan")
        return sum(_error(*self._gaps(prefix), norm) for prefix in prefixes) / len(prefixes)


class AdaptiveCalibrationError(CalibrationError):
    """Calibration error over bins of equal mass (Nixon et al. 2019), streaming.

    Segmentations are confident almost everywhere, and bins of equal width leave most of them empty. Quantiles
    of a stream are not known beforehand: ``FINE`` bins of equal width are counted and put together into
    ``num_bins`` of nearly equal mass. :func:`adaptive_calibration_error` sorts instead.
    """

    def __init__(self, num_bins: int = 15, *, ignore_index: int | None = None) -> None:
        super().__init__(FINE, ignore_index=ignore_index)
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, got {num_bins}")
        self.groups = num_bins

    def compute(self, norm: CalibrationNorm = "l1") -> float:
        """The error over the groups; NaN of nothing."""
        count = self.total("count")
        if not float(count.sum()):
            return float("nan")
        # A fine bin belongs to the group in which its middle pixel lies.
        middle = count.cumsum(0) - count / 2
        group = (middle / count.sum() * self.groups).long().clamp(max=self.groups - 1)
        totals = [torch.zeros(self.groups, dtype=torch.float64) for _ in range(3)]
        for total, name in zip(totals, ("count", "confidence", "correct"), strict=True):
            total.index_add_(0, group, self.total(name))
        divisor = totals[0].clamp(min=1)
        return _error((totals[1] / divisor - totals[2] / divisor).abs(), totals[0] / totals[0].sum(), norm)


class ProperScores(PooledMetric):
    """Brier score and negative log-likelihood, best for true probabilities (Gneiting and Raftery 2007).

    Args:
        ignore_index: class id of pixels that do not count.
    """

    def __init__(self, *, ignore_index: int | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def update(self, probs: ArrayLike, labels: ArrayLike) -> None:
        """Add images."""
        for p, y in images_of(probs, labels):
            kept, ids = valid(p, y, self.ignore_index)
            of_truth = kept.gather(0, ids.unsqueeze(0))[0]
            # sum_k (p_k - [k = y])^2 = sum_k p_k^2 - 2 p_y + 1
            self.add("brier", (kept.square().sum(0) - 2 * of_truth + 1).sum(dtype=torch.float64))
            tiny = torch.finfo(torch.float32).tiny
            self.add("nll", -of_truth.clamp(min=tiny).log().sum(dtype=torch.float64))
            self.add("count", ids.numel())

    @property
    def brier(self) -> float:
        """Mean over pixels of the squared distance to the one-hot truth, in [0, 2]."""
        return ratio(self.total("brier"), self.total("count"))

    @property
    def negative_log_likelihood(self) -> float:
        """Mean over pixels in nats; a probability of 0 of the truth counts as the least float32 (87.3)."""
        return ratio(self.total("nll"), self.total("count"))


def _error(gap: Tensor, share: Tensor, norm: CalibrationNorm) -> float:
    if norm not in get_args(CalibrationNorm):
        raise ValueError(f"norm must be one of {get_args(CalibrationNorm)}, got {norm!r}")
    if norm == "max":
        return float(gap[share > 0].max())
    return float((gap * share).sum()) if norm == "l1" else float((gap.square() * share).sum().sqrt())


def expected_calibration_error(
    probs: ArrayLike,
    labels: ArrayLike,
    num_bins: int = 15,
    ignore_index: int | None = None,
    *,
    norm: CalibrationNorm = "l1",
) -> float:
    """Expected calibration error of images, pooled over their pixels: see :class:`CalibrationError`.

    Args:
        probs: softmax probabilities ``(B, K, *S)``, or ``(K, *S)`` of one image.
        labels: class ids ``(B, *S)`` or ``(*S)``.
        num_bins: bins of equal width.
        ignore_index: class id of pixels that do not count.
        norm: ``"l1"``, ``"l2"`` or ``"max"``.
    """
    error = CalibrationError(num_bins, ignore_index=ignore_index)
    error.update(probs, labels)
    return error.compute(norm)


def adaptive_calibration_error(
    probs: ArrayLike, labels: ArrayLike, num_bins: int = 15, ignore_index: int | None = None
) -> float:
    """Mean gap over bins of equal mass, by sorting all pixels; arguments as the function above."""
    confidences, corrects = [], []
    for p, y in images_of(probs, labels):
        kept, ids = valid(p, y, ignore_index)
        confidence, predicted = kept.max(0)
        confidences.append(confidence.double())
        corrects.append((predicted == ids).double())
    confidence, order = torch.cat(confidences).sort(stable=True)
    correct = torch.cat(corrects)[order]
    if not len(confidence):
        return float("nan")
    parts = zip(confidence.tensor_split(num_bins), correct.tensor_split(num_bins), strict=True)
    gaps = [abs(float(c.sum() - a.sum())) for c, a in parts if len(c)]
    return sum(gaps) / len(confidence)
