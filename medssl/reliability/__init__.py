"""The reliability engine: which pseudo-labels may be believed, in 2D and 3D, for any number of classes."""

from medssl.reliability.agents import AgentScore
from medssl.reliability.conformal import ConformalCalibrator
from medssl.reliability.measures import confidence, disagreement, entropy, mean_view
from medssl.reliability.mixture import TwoGaussians
from medssl.reliability.perturbation import perturbation_region
from medssl.reliability.prototypes import class_prototypes, prototype_affinity
from medssl.reliability.selectors import (
    AgentScoreSelector,
    ConfidenceThreshold,
    ConformalSelector,
    DualAxis,
    DualAxisReliability,
    Selection,
    Selector,
    choose,
)

__all__ = [
    "AgentScore",
    "AgentScoreSelector",
    "ConfidenceThreshold",
    "ConformalCalibrator",
    "ConformalSelector",
    "DualAxis",
    "DualAxisReliability",
    "Selection",
    "Selector",
    "TwoGaussians",
    "choose",
    "class_prototypes",
    "confidence",
    "disagreement",
    "entropy",
    "mean_view",
    "perturbation_region",
    "prototype_affinity",
]
