"""All of a model's reliability in one pass over its probabilities."""

from medssl.common.constants import IGNORE
from medssl.metrics.calibration import (
    AdaptiveCalibrationError,
    CalibrationError,
    ClasswiseCalibrationError,
    ProperScores,
)
from medssl.metrics.pooled import ArrayLike
from medssl.metrics.selective import RiskCoverage
from medssl.metrics.uncertainty import MeanIoU, UncertaintyQuality, reliable_segmentation_score


class ReliabilityMetrics:
    """Accuracy, calibration, uncertainty quality and the Reliable Segmentation Score, pooled over pixels.

    Args:
        num_classes: classes ``K``.
        ignore_index: class id of pixels that do not count (but see the protocol ``landgraf2025``).
        num_bins: of the calibration errors.
    """

    def __init__(self, num_classes: int, *, ignore_index: int | None = IGNORE, num_bins: int = 15) -> None:
        self.iou = MeanIoU(num_classes, ignore_index=ignore_index)
        self.calibration = CalibrationError(num_bins, ignore_index=ignore_index)
        self.classwise = ClasswiseCalibrationError(num_bins, ignore_index=ignore_index)
        self.adaptive = AdaptiveCalibrationError(num_bins, ignore_index=ignore_index)
        self.principled = UncertaintyQuality("principled", ignore_index=ignore_index)
        self.landgraf2025 = UncertaintyQuality("landgraf2025", ignore_index=ignore_index)
        self.scores = ProperScores(ignore_index=ignore_index)
        self.risk = RiskCoverage(ignore_index=ignore_index)
        self.parts = (
            *(self.iou, self.calibration, self.classwise, self.adaptive),
            *(self.principled, self.landgraf2025, self.scores, self.risk),
        )

    def update(self, probs: ArrayLike, labels: ArrayLike) -> None:
        """Add images: probabilities ``(B, K, *S)`` or ``(K, *S)`` and class ids ``(B, *S)`` or ``(*S)``."""
        for part in self.parts:
            part.update(probs, labels)

    def merge(self, other: "ReliabilityMetrics") -> None:
        """Add another object's sums."""
        for part, other_part in zip(self.parts, other.parts, strict=True):
            part.merge(other_part)

    def reduce(self) -> None:
        """Add the sums of all processes."""
        for part in self.parts:
            part.reduce()

    def compute(self) -> dict[str, float]:
        """Every reliability metric of :mod:`medssl.metrics.table`; NaN where a number is undefined."""
        miou, ece = self.iou.compute(), self.calibration.compute()
        values = {"miou": miou, "ece": ece}
        for suffix, quality in (("", self.principled), ("_landgraf2025", self.landgraf2025)):
            pair = quality.compute()
            values[f"p_acc_cer{suffix}"] = pair.p_accurate_given_certain
            values[f"p_unc_inacc{suffix}"] = pair.p_uncertain_given_inaccurate
            values[f"rss{suffix}"] = reliable_segmentation_score(miou, ece, *pair)
        values["classwise_ece"] = self.classwise.compute()
        values["adaptive_ece"] = self.adaptive.compute()
        values["brier"] = self.scores.brier
        values["nll"] = self.scores.negative_log_likelihood
        values["aurc"] = self.risk.compute()
        return values
