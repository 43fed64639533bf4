"""From an image to a prediction: windows, the way back to the scan's grid, trained models."""

from medssl.inference.checkpoints import load_checkpoint, load_network, trained_orientation, with_weights
from medssl.inference.deployable import deployable, fold_batch_norm
from medssl.inference.predictor import Predictor
from medssl.inference.probabilities import complete_probabilities
from medssl.inference.scan_evaluator import ScanEvaluator
from medssl.inference.sliding_window import SlidingWindowProbabilities
from medssl.inference.temperature import stored_temperature

__all__ = [
    "Predictor",
    "ScanEvaluator",
    "SlidingWindowProbabilities",
    "complete_probabilities",
    "deployable",
    "fold_batch_norm",
    "load_checkpoint",
    "load_network",
    "stored_temperature",
    "trained_orientation",
    "with_weights",
]
