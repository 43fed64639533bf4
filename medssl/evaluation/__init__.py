"""Scores of cases and images, of pseudo-labels, and under corruption."""

from medssl.evaluation.case_metrics import CaseMetrics
from medssl.evaluation.images import ImageMetrics, evaluate_images
from medssl.evaluation.pseudo_labels import PseudoLabelQuality
from medssl.evaluation.scans import evaluate_run
from medssl.evaluation.trained import (
    packages_of_run,
    require_trained_settings,
    require_trained_split,
    scoring_loader,
)

__all__ = [
    "CaseMetrics",
    "ImageMetrics",
    "PseudoLabelQuality",
    "evaluate_images",
    "evaluate_run",
    "packages_of_run",
    "require_trained_settings",
    "require_trained_split",
    "scoring_loader",
]
