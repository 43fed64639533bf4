"""Conformal prediction for segmentation: sets of classes that hold the true one as often as is asked."""

from medssl.reliability.conformal.calibrator import ConformalCalibrator, Pooling
from medssl.reliability.conformal.quantiles import conformal_quantile, conformal_rank
from medssl.reliability.conformal.sets import labels_of_sets

__all__ = ["ConformalCalibrator", "Pooling", "conformal_quantile", "conformal_rank", "labels_of_sets"]
