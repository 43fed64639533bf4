"""When a student stops learning from an annotator, and how much it then learns from itself (ConformalSAM)."""

import math

from medssl.common.errors import InputError


class SelfReliance:
    """The schedule of the two stages of ConformalSAM (ICCV 2025).

    In stage I the annotator's labels teach the student; in stage II its own pseudo-labels do, in
    ``L = (1 - lambda(t)) L_s + lambda(t) L_u`` with ``lambda(t) = weight * exp(-decay * t / T_II)``, where t
    counts the steps of stage II, of ``T_II``. The paper says "exponential decay" and gives no constants;
    these are ours.

    Args:
        total_steps: optimiser steps of the whole training, at least 1.
        switch: share of them that is stage I, in [0, 1]: 0.75 as published (60 of 80 epochs on VOC, 30 of 40
            on ADE20K); 1 for no stage II.
        weight: lambda at the start of stage II, in [0, 1].
        decay: how many times lambda falls by e until its end, at least 0; 0 for a constant weight.

    Raises:
        InputError: an argument outside its range.
    """

    def __init__(
        self, total_steps: int, switch: float = 0.75, weight: float = 0.5, decay: float = 5.0
    ) -> None:
        if total_steps < 1:
            raise InputError(f"total_steps={total_steps}", "is no length of a training", "give 1 or more")
        for name, share in (("switch", switch), ("weight", weight)):
            if not 0 <= share <= 1:
                raise InputError(f"{name}={share}", "out of range", "give a number in [0, 1]")
        if not 0 <= decay < math.inf:
            raise InputError(f"decay={decay}", "out of range", "give 0 or more")
        self.total_steps, self.switch, self.initial_weight, self.decay = total_steps, switch, weight, decay
        self.start = round(switch * total_steps)
        """First step of stage II; ``total_steps`` where there is none."""

    def own(self, step: int) -> bool:
        """Whether stage II has begun in the step of that number, counted from 0."""
        return step >= self.start

    def weight(self, step: int) -> float:
        """Lambda in that step; before stage II what it will begin with."""
        length = max(self.total_steps - self.start, 1)
        return self.initial_weight * math.exp(-self.decay * max(step - self.start, 0) / length)
