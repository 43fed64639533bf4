"""Losses of tensors; no data set, no model."""

from medssl.losses.calibration import calibration_loss, published_calibration_loss
from medssl.losses.pseudo_label import Over, masked_mean, negative_loss, positive_loss
from medssl.losses.segmentation import (
    cross_entropy,
    dice_loss,
    one_hot,
    supervised_loss,
    supervised_terms,
)

__all__ = [
    "Over",
    "calibration_loss",
    "cross_entropy",
    "dice_loss",
    "masked_mean",
    "negative_loss",
    "one_hot",
    "positive_loss",
    "published_calibration_loss",
    "supervised_loss",
    "supervised_terms",
]
