"""Rules of the schedule: how many steps a budget buys, and what follows from their number."""

from dataclasses import dataclass
from math import prod

from medssl.common.errors import InputError
from medssl.common.progress import duration
from medssl.planning.fingerprint import Fingerprint
from medssl.planning.rules.patches import Patch

PAYS_FROM = 1_500
"""Steps from which semi-supervised training was seen to lead (docs/benchmarks.md): with 1,500 steps TCSeg
leads on the hippocampus, with 4 and with 10 labelled scans; with 400 steps on phantoms it gained nothing."""

MOST_STEPS = 20_000
"""The published number (UA-MT, MC-Net, TCSeg train 6,000 to 20,000 steps)."""

LEAST_STEPS = 100
"""Below, no network of a few labelled scans was seen to predict anything of use."""

SPARE = 0.1
"""Share of the budget that is left for what is not timed: reading, metrics, other work on the machine."""

VALIDATION_SHARE = 0.1
"""Share of the training's time that validations may take."""

EPOCHS = 30
WIDE = 16
"""Filters of the first stage, as published."""

SHORT_RUN = 2_000
LONG_RUN = 10_000
SMALL_PATCH = 2**16
PUBLISHED_PATCH = 96**3


@dataclass(frozen=True)
class Schedule:
    """Steps, and when to validate.

    Attributes:
        max_steps: optimiser steps.
        steps_per_epoch: of an epoch.
        val_interval: epochs between validations.
        training_seconds: of the steps.
        validation_seconds: of all validations.
        scoring_seconds: of the test cases, with the last checkpoint and, where cases choose one, the best.
    """

    max_steps: int
    steps_per_epoch: int
    val_interval: int
    training_seconds: float
    validation_seconds: float
    scoring_seconds: float

    @property
    def seconds(self) -> float:
        """Of everything."""
        return self.training_seconds + self.validation_seconds + self.scoring_seconds


def seconds_for_steps(budget: float, steps: int = PAYS_FROM) -> float:
    """Seconds that a step may take so that a budget buys ``steps``, validations and a reserve counted."""
    return budget * (1 - SPARE) / (1 + VALIDATION_SHARE) / steps


def schedule(
    budget: float, step_seconds: float, case_seconds: float, *, validation: int, test: int
) -> Schedule:
    """Steps and validations of a budget.

    Args:
        budget: seconds for training, validations and scoring of the test cases.
        step_seconds: of a training step.
        case_seconds: of the prediction of one case.
        validation: cases for validation.
        test: cases for testing.

    Raises:
        InputError: it buys fewer than :data:`LEAST_STEPS`.
    """
    scoring = case_seconds * test * (2 if validation else 1)
    left = budget * (1 - SPARE) - scoring
    affordable = int(left / (step_seconds * (1 + (VALIDATION_SHARE if validation else 0))))
    if affordable < LEAST_STEPS:
        needed = (LEAST_STEPS * step_seconds * (1 + VALIDATION_SHARE) + scoring) / (1 - SPARE)
        fault = f"buys {max(affordable, 0)} steps of {step_seconds:.2f} s, and {LEAST_STEPS} are the least"
        raise InputError(f"budget {duration(budget)}", fault, f"give {duration(needed + 30)} or more")
    steps = min(affordable, MOST_STEPS)
    unit = 5 if steps < 500 else 10 if steps < 2_000 else 50
    per_epoch = min(200, max(unit, round(steps / EPOCHS / unit) * unit))
    epochs = max(1, steps // per_epoch)
    training = epochs * per_epoch * step_seconds
    one = case_seconds * validation
    most = max(1, min(epochs, int(VALIDATION_SHARE * training / one))) if one else epochs
    interval = -(-epochs // most)
    validations = one * (epochs // interval)
    return Schedule(epochs * per_epoch, per_epoch, interval, training, validations, scoring)


def pays(steps: int, method: str) -> tuple[bool, str]:
    """Whether semi-supervised learning is likely to pay, in words.

    Ours (:data:`PAYS_FROM`); on left atria at half resolution one run of TCSeg led after 1,000 steps, too.
    """
    if method == "supervised":
        return True, "supervised training learns from the labelled scans alone"
    source = f"in docs/benchmarks.md it led from {PAYS_FROM:,} steps on, and not with 400"
    if steps >= PAYS_FROM:
        return True, f"{steps:,} steps suffice for semi-supervised learning to pay: {source}"
    return False, (
        f"{steps:,} steps are few for semi-supervised learning: {source}. Supervised training is the better "
        "choice, or a larger budget"
    )


def width(device: str) -> tuple[int, str]:
    """Filters of the first stage: 16 as published, 8 without a GPU (a quarter of the arithmetic). Ours."""
    return (WIDE, "as published") if device == "cuda" else (8, "half the published 16: there is no GPU")


def dropout(patch: Patch, filters: int) -> tuple[float, str]:
    """Channel dropout.

    Source: 0.5 of 16 filters as published. Ours, of what trained best on this kind of machine
    (docs/benchmarks.md): 0.2 of 8 filters, none where a small patch leaves the coarsest map a dozen voxels.
    """
    if filters >= WIDE:
        return 0.5, "as published"
    if prod(patch) < SMALL_PATCH:
        return 0.0, f"{filters} filters and a patch of {prod(patch):,} voxels have nothing to lose"
    return 0.2, f"half of only {filters} filters is too much to lose"


def learning_rate(steps: int, filters: int) -> tuple[float, str]:
    """Of SGD with polynomial decay.

    Source: 0.01 as published for 20,000 steps, nnU-Net's as well. Ours: 0.05 for short runs of narrow
    networks and 0.02 between, which trained best there (docs/benchmarks.md).
    """
    if steps <= SHORT_RUN and filters < WIDE:
        return 0.05, f"{steps:,} steps are few, and gradients are clipped"
    if steps <= LONG_RUN:
        return 0.02, "between the published 0.01 of 20,000 steps and 0.05 of short runs"
    return 0.01, "as published"


def default_method(patch: Patch) -> tuple[str, str]:
    """The semi-supervised method, and why.

    Source: docs/methods/tcseg.md: the published mean over selected voxels undid trainings on small patches.
    """
    if prod(patch) < PUBLISHED_PATCH // 2:
        return "tcseg_short", f"patches of {prod(patch):,} voxels are small: losses are means over all voxels"
    return "tcseg_own", "patches are about as large as published"


def batch(fingerprint: Fingerprint) -> tuple[int, int, str]:
    """Labelled and unlabelled rows: 2 and 2 as published; nnU-Net's smallest batch is 2 as well."""
    if not fingerprint.unlabeled:
        return 2, 0, "there are no unlabelled scans"
    return 2, 2, "as published"
