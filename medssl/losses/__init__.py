"""Losses of tensors; no data set, no model."""

from medssl.losses.calibration import calibration_loss, published_calibration_loss
from medssl.losses.hard_examples import OhemCrossEntropy
from medssl.losses.pseudo_label import Over, masked_mean, negative_loss, positive_loss
from medssl.losses.rank import plackett_luce, rank_loss
from medssl.losses.segmentation import (
    cross_entropy,
    dice_loss,
    one_hot,
    supervised_loss,
    supervised_terms,
)

__all__ = [
    "OhemCrossEntropy",
    "Over",
    "calibration_loss",
    "cross_entropy",
    "dice_loss",
    "masked_mean",
    "negative_loss",
    "one_hot",
    "plackett_luce",
    "positive_loss",
    "published_calibration_loss",
    "rank_loss",
    "supervised_loss",
    "supervised_terms",
]
