"""Metrics of predictions."""

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

__all__ = [
    "EMPTY_POLICY",
    "SegmentationScores",
    "average_surface_distance",
    "average_symmetric_surface_distance",
    "dice",
    "hausdorff95",
    "hausdorff95_directed_max",
    "jaccard",
    "segmentation_scores",
    "surface_dice",
]
