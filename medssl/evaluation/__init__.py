"""Scores of cases and images, of pseudo-labels, and under corruption."""

from medssl.evaluation.case_metrics import CaseMetrics, summary_table
from medssl.evaluation.pseudo_labels import PseudoLabelQuality, cases_with_hidden_labels
from medssl.evaluation.scans import evaluate_run
from medssl.evaluation.trained import (
    require_trained_settings,
    require_trained_split,
    score_table,
    scoring_loader,
)

__all__ = [
    "CaseMetrics",
    "PseudoLabelQuality",
    "cases_with_hidden_labels",
    "evaluate_run",
    "require_trained_settings",
    "require_trained_split",
    "score_table",
    "scoring_loader",
    "summary_table",
]
