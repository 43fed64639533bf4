"""How predictions were made, as plain data: what side-cars and promises say of it."""

from typing import Any

from monai.transforms import Compose

from medssl.data import Orientd
from medssl.inference.predictor import Predictor
from medssl.review.options import PackageOptions


def prediction_settings(predictor: Predictor, transform: Compose, options: PackageOptions) -> dict[str, Any]:
    """Preprocessing, windows, test-time options and clean-up of a prediction.

    Args:
        predictor: that predicts.
        transform: the preprocessing.
        options: of the review folder.
    """
    turns = [step.orientation for step in transform.transforms if isinstance(step, Orientd)]
    return {
        "preprocessing": [type(step).__name__ for step in transform.transforms],
        "orientation": turns[0] if turns else None,
        "patch": list(predictor.patch),
        "stride": predictor.stride and list(predictor.stride),
        "window_weights": predictor.weights,
        "flips": [[axis - 2 for axis in axes] for axes in predictor.flips[1:]],
        "uncertainty": predictor.uncertainty,
        "temperature": predictor.temperature,
        "amp": predictor.amp,
        "keep_largest": list(options.keep_largest),
        "fill_holes": list(options.fill_holes),
    }
