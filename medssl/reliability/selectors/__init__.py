"""Which pseudo-labels may be believed: one policy a file."""

from medssl.reliability.selectors.agent import AgentScoreSelector
from medssl.reliability.selectors.base import Selection, Selector, choose
from medssl.reliability.selectors.conformal import ConformalSelector
from medssl.reliability.selectors.dual_axis import DualAxis, DualAxisReliability
from medssl.reliability.selectors.threshold import ConfidenceThreshold

__all__ = [
    "AgentScoreSelector",
    "ConfidenceThreshold",
    "ConformalSelector",
    "DualAxis",
    "DualAxisReliability",
    "Selection",
    "Selector",
    "choose",
]
