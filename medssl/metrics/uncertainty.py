"""Is what a model is certain of right, and is it uncertain where it is wrong?

Source: Mukhoti and Gal 2018 (p(accurate | certain) and p(uncertain | inaccurate)); Landgraf et al. 2025,
"Rethinking Semi-supervised Segmentation Beyond Accuracy", who combine them with accuracy and calibration into
the Reliable Segmentation Score.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from medssl.common.constants import IGNORE
from medssl.metrics.pooled import ArrayLike, PooledMetric, images_of, predicted, ratio, valid
from medssl.reliability import entropy

UncertaintyProtocol = Literal["principled", "landgraf2025"]


class UncertaintyPair(NamedTuple):
    """Both conditional probabilities, in [0, 1]; NaN where nothing is certain, or nothing inaccurate."""

    p_accurate_given_certain: float
    p_uncertain_given_inaccurate: float


class UncertaintyQuality(PooledMetric):
    """p(accurate | certain) and p(uncertain | inaccurate), pooled over images.

    A pixel is certain where its entropy is at most the median of its image.

    Args:
        protocol: ``"principled"``: ignored pixels are taken out before the median and the counts, and counts
            are pooled over all images. ``"landgraf2025"``: what the published numbers imply: the median is
            over all pixels, ignored ones count as inaccurate, and the two ratios are averaged over images
            (those without an inaccurate pixel have no second ratio).
        ignore_index: class id of ignored pixels.
    """

    def __init__(
        self, protocol: UncertaintyProtocol = "principled", *, ignore_index: int | None = IGNORE
    ) -> None:
        super().__init__()
        if protocol not in get_args(UncertaintyProtocol):
            raise ValueError(f"protocol must be one of {get_args(UncertaintyProtocol)}, got {protocol!r}")
        self.protocol, self.ignore_index = protocol, ignore_index

    def update(self, probs: ArrayLike, labels: ArrayLike) -> None:
        """Add images."""
        for p, y in images_of(probs, labels):
            kept, ids = valid(p, y, self.ignore_index)  # checks the ids under both protocols
            if self.protocol == "landgraf2025":
                kept, ids = p, y
            if not ids.numel():
                continue
            uncertainty = entropy(kept.unsqueeze(0))[0]
            # The lower of two middle values: it parts the pixels as their mean would.
            certain = uncertainty <= uncertainty.median()
            accurate = predicted(kept) == ids
            both, wrong = (accurate & certain).sum(), (~accurate).sum()
            caught = (~accurate & ~certain).sum()
            if self.protocol == "principled":
                self.add("accurate and certain", both)
                self.add("certain", certain.sum())
                self.add("uncertain and inaccurate", caught)
                self.add("inaccurate", wrong)
                continue
            self.add("accurate and certain", both / certain.sum())
            self.add("certain", 1)
            if wrong:
                self.add("uncertain and inaccurate", caught / wrong)
                self.add("inaccurate", 1)

    def compute(self) -> UncertaintyPair:
        """Both probabilities."""
        return UncertaintyPair(
            ratio(self.total("accurate and certain"), self.total("certain")),
            ratio(self.total("uncertain and inaccurate"), self.total("inaccurate")),
        )


def uncertainty_quality(
    probs: ArrayLike,
    labels: ArrayLike,
    protocol: UncertaintyProtocol = "principled",
    *,
    ignore_index: int | None = IGNORE,
) -> UncertaintyPair:
    """``(p_accurate_given_certain, p_uncertain_given_inaccurate)``: see :class:`UncertaintyQuality`.

    Args:
        probs: softmax probabilities ``(B, K, *S)``, or ``(K, *S)`` of one image.
        labels: class ids ``(B, *S)`` or ``(*S)``.
        protocol: see :class:`UncertaintyQuality`.
        ignore_index: class id of ignored pixels.
    """
    quality = UncertaintyQuality(protocol, ignore_index=ignore_index)
    quality.update(probs, labels)
    return quality.compute()


def reliable_segmentation_score(
    miou: float,
    ece: float,
    p_accurate_given_certain: float,
    p_uncertain_given_inaccurate: float,
    weights: Sequence[float] = (1, 1, 1, 1),
) -> float:
    """RSS: weighted harmonic mean of mIoU, 1 - ECE, p(acc|cer) and p(unc|inacc) (Landgraf et al. 2025).

    Args:
        miou: mean intersection over union in [0, 1].
        ece: expected calibration error in [0, 1].
        p_accurate_given_certain: in [0, 1].
        p_uncertain_given_inaccurate: in [0, 1].
        weights: of the four in this order, at least 0 and not all 0.

    Returns:
        In [0, 1]: 0 where a component of positive weight is 0, NaN where one is NaN.

    Raises:
        ValueError: a component outside [0, 1], or weights that are none.
    """
    if len(weights) != 4 or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights must be four numbers of at least 0 and not all 0, got {tuple(weights)}")
    parts = (miou, 1 - ece, p_accurate_given_certain, p_uncertain_given_inaccurate)
    for name, value in zip(("miou", "1 - ece", "p(acc|cer)", "p(unc|inacc)"), parts, strict=True):
        if value < -1e-9 or value > 1 + 1e-9:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
    return float(_harmonic_mean(np.array(parts)[:, None], np.array(weights, float))[0])


def reliable_segmentation_scores(
    miou: NDArray[np.float64],
    ece: NDArray[np.float64],
    p_accurate_given_certain: NDArray[np.float64],
    p_uncertain_given_inaccurate: NDArray[np.float64],
) -> NDArray[np.float64]:
    """:func:`reliable_segmentation_score` with equal weights of many at once, ``(D,)`` each."""
    parts = np.stack([miou, 1 - ece, p_accurate_given_certain, p_uncertain_given_inaccurate])
    return _harmonic_mean(parts, np.ones(4))


def _harmonic_mean(parts: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted, over the first axis: 0 where a counted part is 0 or less, NaN where one is NaN."""
    counted, weights = parts[weights > 0], weights[weights > 0, None]
    positive = counted > 0
    inverse = np.divide(weights, counted, out=np.full(counted.shape, np.nan), where=positive)
    mean: NDArray[np.float64] = weights.sum() / inverse.sum(0)
    mean[(~positive).any(0)] = 0.0
    mean[np.isnan(counted).any(0)] = np.nan
    return mean


class MeanIoU(PooledMetric):
    """Mean intersection over union from one confusion matrix over all images.

    A class that is neither predicted nor there in any image has no IoU and does not enter the mean, as in
    torchmetrics.

    Args:
        num_classes: classes ``K``.
        ignore_index: class id of pixels that do not count.
    """

    def __init__(self, num_classes: int, *, ignore_index: int | None = None) -> None:
        super().__init__()
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def update(self, probs: ArrayLike, labels: ArrayLike) -> None:
        """Add images."""
        for p, y in images_of(probs, labels):
            kept, ids = valid(p, y, self.ignore_index)
            pairs = ids * self.num_classes + predicted(kept)
            counts = torch.bincount(pairs, minlength=self.num_classes**2)
            self.add("confusion", counts.view(self.num_classes, self.num_classes))

    def per_class(self) -> list[float]:
        """IoU of every class; NaN for one that is nowhere."""
        if "confusion" not in self.sums:
            return [float("nan")] * self.num_classes
        confusion = self.total("confusion")
        both = confusion.diagonal()
        union = confusion.sum(0) + confusion.sum(1) - both
        return [ratio(b, u) for b, u in zip(both, union, strict=True)]

    def compute(self) -> float:
        """Mean over the classes that are there; NaN of nothing."""
        values = [value for value in self.per_class() if value == value]
        return sum(values) / len(values) if values else float("nan")
