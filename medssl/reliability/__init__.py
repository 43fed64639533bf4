"""The reliability engine: which pseudo-labels may be believed, in 2D and 3D, for any number of classes."""

from medssl.reliability.measures import confidence, disagreement, entropy, mean_view
from medssl.reliability.perturbation import perturbation_region
from medssl.reliability.prototypes import class_prototypes, prototype_affinity
from medssl.reliability.selectors import (
    ConfidenceThreshold,
    DualAxis,
    DualAxisReliability,
    Selection,
    Selector,
    choose,
)

__all__ = [
    "ConfidenceThreshold",
    "DualAxis",
    "DualAxisReliability",
    "Selection",
    "Selector",
    "choose",
    "class_prototypes",
    "confidence",
    "disagreement",
    "entropy",
    "mean_view",
    "perturbation_region",
    "prototype_affinity",
]
