"""What is promised of a new prediction: a lower bound on its Dice, and a band that holds the true structure.

Both are fitted on cases that had no part in the training (:mod:`medssl.review.promise_fitting`), kept as
plain data with the checkpoint's temperature, and belong to predictions that are made as those were.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.common.errors import InputError
from medssl.inference.predictor import Prediction
from medssl.inference.temperature import calibration_file, read_calibration
from medssl.review.boundary_band import BAND, band_map

FREE = ("uncertainty",)
"""Settings of a prediction that change neither labels nor expected Dice."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassPromise:
    """What was fitted for one class, on the cases in which it was predicted.

    Attributes:
        cases: their number.
        overestimate: with probability 1 - risk the expected Dice is above the true one by at most this;
            negative where it is too low. None where the cases are too few for the risk; then the widths are,
            too.
        outer_mm: how far the band reaches beyond the prediction; what lies further out is at most ``risk`` of
            the true structure, in expectation.
        inner_mm: how far it reaches into the prediction; what lies deeper and is not the structure is at most
            ``risk`` of the prediction, in expectation.
        mean_expected_dice: over the cases in which it was predicted; None without one.
        mean_dice: likewise.
    """

    cases: int
    overestimate: float | None
    outer_mm: float | None
    inner_mm: float | None
    mean_expected_dice: float | None
    mean_dice: float | None


@dataclass(frozen=True)
class Promises:
    """All that is promised of a model's predictions.

    Attributes:
        risk: in (0, 1); see :class:`ClassPromise`.
        jointly: whether bounds and bands hold for all classes of a case at once, and not for each by itself.
        cases: number of cases that they were fitted on, one of each class or not.
        classes: by name, in the order of the class ids from 1 on.
        settings: how those cases were predicted.
        cautions: what makes them less than exact.
    """

    risk: float
    jointly: bool
    cases: int
    classes: Mapping[str, ClassPromise]
    settings: Mapping[str, Any]
    cautions: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"classes": {name: asdict(one) for name, one in self.classes.items()}}

    def differing(self, settings: Mapping[str, Any]) -> list[str]:
        """Settings in which a prediction differs from those that the promises are of."""
        names = dict.fromkeys([*self.settings, *settings])
        return [n for n in names if n not in FREE and self.settings.get(n) != settings.get(n)]

    def of_class(self, label: int) -> ClassPromise:
        """The promise of a class id, which is 1 or more."""
        return list(self.classes.values())[label - 1]

    def dice_at_least(self, label: int, expected: float) -> float:
        """The lower bound on the Dice of a class in one case, in [0, 1].

        Args:
            label: class id.
            expected: Dice that the probabilities expect; NaN where nothing was predicted.

        Returns:
            NaN where nothing was predicted, or where there is no promise of the class.
        """
        overestimate = self.of_class(label).overestimate
        if overestimate is None or math.isnan(expected):
            return math.nan
        # Rounded as files hold it, and never upward.
        return math.floor(min(max(expected - overestimate, 0.0), 1.0) * 1e6) / 1e6

    def bands(self, prediction: Prediction, spacing: Sequence[float]) -> dict[int, NDArray[np.uint8]]:
        """The map of the band of every class that was predicted and has one, by class id.

        Args:
            prediction: of one scan.
            spacing: voxel size in mm.
        """
        bands = {}
        for label, one in enumerate(self.classes.values(), 1):
            mask = prediction.labels == label
            if one.outer_mm is not None and one.inner_mm is not None and mask.any():
                bands[label] = band_map(mask, spacing, outer_mm=one.outer_mm, inner_mm=one.inner_mm)
        return bands

    def measured(
        self, prediction: Prediction, bands: Mapping[int, NDArray[np.uint8]], spacing: Sequence[float]
    ) -> dict[str, dict[str, float]]:
        """Of every class the bound of its Dice, and the volume of the band beyond the prediction in ml.

        Both are NaN where there is none.
        """
        milliliters = float(np.prod(spacing)) / 1000
        return {
            name: {
                "dice_at_least": self.dice_at_least(label, prediction.soft_overlap[label]),
                "band_ml": int((bands[label] == BAND).sum()) * milliliters if label in bands else math.nan,
            }
            for label, name in enumerate(self.classes, 1)
        }


def promises_from(content: Mapping[str, Any], *, where: str | Path) -> Promises:
    """The inverse of :meth:`Promises.plain`.

    Args:
        content: that.
        where: it was read from.

    Raises:
        InputError: it is damaged.
    """
    try:
        classes = {str(name): ClassPromise(**one) for name, one in content["classes"].items()}
        return Promises(
            risk=float(content["risk"]),
            jointly=bool(content["jointly"]),
            cases=int(content["cases"]),
            classes=classes,
            settings=dict(content["settings"]),
            cautions=tuple(content["cautions"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(where, "holds damaged promises", "write it anew with `medssl calibrate`") from error


def stored_promises(checkpoint: str | Path) -> Promises | None:
    """The promises beside a checkpoint; None where there are none, or where they are another checkpoint's.

    Raises:
        InputError: the file is damaged.
    """
    content = read_calibration(checkpoint, warn=False)
    if content is None or content.get("promises") is None:
        return None
    return promises_from(content["promises"], where=calibration_file(checkpoint))


def promises_for(promises: Promises | None, settings: Mapping[str, Any]) -> Promises | None:
    """The promises, where they hold for predictions with these settings; else None, and a warning of why."""
    if promises is None:
        return None
    differing = promises.differing(settings)
    if differing:
        logger.warning(
            "no bound and no band: calibrated with other settings (%s); run `medssl calibrate` with these",
            ", ".join(
                f"{name} {promises.settings.get(name)}, now {settings.get(name)}" for name in differing
            ),
        )
        return None
    return promises
