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
from medssl.metrics.coverage import CoverageCounts, coverage_counts
from medssl.metrics.image_sums import ImageSums
from medssl.metrics.reliability_summary import ReliabilityMetrics
from medssl.metrics.segmentation import (
    EMPTY_POLICY,
    MaskPair,
    average_surface_distance,
    average_symmetric_surface_distance,
    dice,
    hausdorff95,
    hausdorff95_directed_max,
    jaccard,
    surface_dice,
)
from medssl.metrics.selection_quality import (
    ClassSelectionCounts,
    SelectionCounts,
    SelectionQuality,
    false_positive_rate_at,
    fpr_at_tpr,
    selection_quality,
)
from medssl.metrics.selective import RiskCoverage, area_under_risk_coverage, risk_coverage_curve
from medssl.metrics.table import METRICS, SCORE_COLUMNS, Metric, ScoredClass, find_metric
from medssl.metrics.uncertainty import (
    MeanIoU,
    UncertaintyPair,
    UncertaintyQuality,
    reliable_segmentation_score,
    uncertainty_quality,
)

__all__ = [
    "EMPTY_POLICY",
    "METRICS",
    "SCORE_COLUMNS",
    "AdaptiveCalibrationError",
    "CalibrationError",
    "ClassSelectionCounts",
    "ClasswiseCalibrationError",
    "CoverageCounts",
    "ImageSums",
    "MaskPair",
    "MeanIoU",
    "Metric",
    "ProperScores",
    "ReliabilityDiagram",
    "ReliabilityMetrics",
    "RiskCoverage",
    "ScoredClass",
    "SelectionCounts",
    "SelectionQuality",
    "UncertaintyPair",
    "UncertaintyQuality",
    "adaptive_calibration_error",
    "area_under_risk_coverage",
    "average_surface_distance",
    "average_symmetric_surface_distance",
    "coverage_counts",
    "dice",
    "expected_calibration_error",
    "false_positive_rate_at",
    "find_metric",
    "fpr_at_tpr",
    "hausdorff95",
    "hausdorff95_directed_max",
    "jaccard",
    "reliable_segmentation_score",
    "risk_coverage_curve",
    "selection_quality",
    "surface_dice",
    "uncertainty_quality",
]
