"""From an image to a prediction: windows, the way back to the scan's grid, trained models."""

from medssl.inference.checkpoints import load_checkpoint, load_network
from medssl.inference.deployable import deployable
from medssl.inference.deployment import (
    Deployment,
    TrainedRun,
    load_deployment,
    load_run,
    predict,
    trained_network,
)
from medssl.inference.predictor import Prediction, Predictor
from medssl.inference.scan_evaluator import ScanEvaluator
from medssl.inference.sliding_window import SlidingWindowProbabilities

__all__ = [
    "Deployment",
    "Prediction",
    "Predictor",
    "ScanEvaluator",
    "SlidingWindowProbabilities",
    "TrainedRun",
    "deployable",
    "load_checkpoint",
    "load_deployment",
    "load_network",
    "load_run",
    "predict",
    "trained_network",
]
