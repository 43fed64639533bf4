"""Metrics of predictions."""

from medssl.metrics.calibration import (
    AdaptiveCalibrationError,
    CalibrationError,
    ClasswiseCalibrationError,
    ProperScores,
    ReliabilityDiagram,
    adaptive_calibration_error,
    expected_calibration_error,
)
from medssl.metrics.reliability_summary import RELIABILITY_NAMES, ReliabilityMetrics
from medssl.metrics.segmentation import (
    EMPTY_POLICY,
    SegmentationScores,
    average_surface_distance,
    average_symmetric_surface_distance,
    dice,
    hausdorff95,
    hausdorff95_directed_max,
    jaccard,
    segmentation_scores,
    surface_dice,
)
from medssl.metrics.selection_quality import (
    ClassSelectionCounts,
    SelectionCounts,
    SelectionQuality,
    false_positive_rate_at,
    selection_quality,
)
from medssl.metrics.selective import RiskCoverage, area_under_risk_coverage, risk_coverage_curve
from medssl.metrics.uncertainty import (
    MeanIoU,
    UncertaintyPair,
    UncertaintyQuality,
    reliable_segmentation_score,
    uncertainty_quality,
)

__all__ = [
    "EMPTY_POLICY",
    "RELIABILITY_NAMES",
    "AdaptiveCalibrationError",
    "CalibrationError",
    "ClassSelectionCounts",
    "ClasswiseCalibrationError",
    "MeanIoU",
    "ProperScores",
    "ReliabilityDiagram",
    "ReliabilityMetrics",
    "RiskCoverage",
    "SegmentationScores",
    "SelectionCounts",
    "SelectionQuality",
    "UncertaintyPair",
    "UncertaintyQuality",
    "adaptive_calibration_error",
    "area_under_risk_coverage",
    "average_surface_distance",
    "average_symmetric_surface_distance",
    "dice",
    "expected_calibration_error",
    "false_positive_rate_at",
    "hausdorff95",
    "hausdorff95_directed_max",
    "jaccard",
    "reliable_segmentation_score",
    "risk_coverage_curve",
    "segmentation_scores",
    "selection_quality",
    "surface_dice",
    "uncertainty_quality",
]
