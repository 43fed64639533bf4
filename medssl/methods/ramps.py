"""How the weight of the unlabelled loss grows."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SigmoidRamp:
    """``weight * exp(-5 (1 - min(t, length) / length)^2)`` (Laine and Aila 2017).

    Args:
        weight: value at the end of the ramp.
        length: optimiser steps until it is reached; 0 for a constant weight.
        interval: the weight changes every so many steps (150 in the published code, with a length of 40
            such intervals).
    """

    weight: float = 1.0
    length: int = 6000
    interval: int = 1

    def __post_init__(self) -> None:
        """Refuse a ramp that makes no sense."""
        if self.length < 0 or self.interval < 1:
            raise ValueError(f"need length >= 0 and interval >= 1, got {self.length} and {self.interval}")

    def __call__(self, update: int) -> float:
        """Weight in the optimiser update of that number, counted from 1 as in the published loops."""
        if self.length == 0:
            return self.weight
        done = min(update // self.interval * self.interval, self.length) / self.length
        return self.weight * math.exp(-5 * (1 - done) ** 2)

    def warning(self, steps: int) -> str | None:
        """One line where a training ends before the weight has come to half its value; else None.

        Args:
            steps: optimiser steps of the whole training.
        """
        share = self(steps) / self.weight if self.weight else 1.0
        if share >= 0.5:
            return None
        return (
            f"ramp of {self.length} steps: after {steps} steps the unlabelled losses have {share:.1%} of "
            "their weight; set --ramp_share 0.3, as published, or train longer"
        )
