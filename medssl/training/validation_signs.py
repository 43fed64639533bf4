"""Signs in the validations of a training, and in its pseudo-labels, that something is wrong.

Lines and thresholds as in :mod:`medssl.training.signs`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor


class Validation(NamedTuple):
    """What is kept of a validation.

    Attributes:
        epoch: after which it was.
        progress: share of the training that was done, in (0, 1].
        score: the key metric, in [0, 1]; NaN where it has none.
        confusion: voxels ``(K, K)`` by labelled and predicted class; None where nobody counted.
    """

    epoch: int
    progress: float
    score: float
    confusion: Tensor | None = None


class Precision(NamedTuple):
    """How right the pseudo-labels were at some step: the share of the selected and of all that is right."""

    step: int
    selected: float
    everywhere: float


def validation_signs(
    validations: Sequence[Validation], *, ended: bool, background: bool, names: Mapping[int, str]
) -> Iterator[str]:
    """Signs in the validations.

    Nothing is said of two validations before a tenth of the training, nor of a class before half of it. What
    the last validation of a training that has ``ended`` shows stays so and needs no second one.

    Args:
        validations: all so far, oldest first.
        ended: no other one will follow.
        background: class 0 is no structure.
        names: of classes, by number.
    """
    if not validations:
        return
    last = validations[-1]
    several = validations[-1:] if ended else validations[-2:]
    if (len(several) == 2 and last.progress >= 0.1) or ended:
        yield from _empty_or_zero(several, background, names)
        yield from _fallen(several, max(v.score if math.isfinite(v.score) else 0 for v in validations))
    latest = [v for v in validations if v.progress >= 0.5][-3:]
    if len(latest) == 3 or ended:
        yield from _classes_never_predicted(latest, background, names)


def _empty_or_zero(
    validations: Sequence[Validation], background: bool, names: Mapping[int, str]
) -> Iterator[str]:
    """Predictions of one class where labels hold others, or a key metric of 0."""
    single = [_only_class(validation) for validation in validations]
    remedy = (
        "if it stays so, see that labels and scans belong together (medssl check), and try more --max_steps "
        "or another --learning_rate"
    )
    if all(label is not None for label in single):
        if background and set(single) == {0}:
            yield f"no foreground is predicted: {_epochs(validations)}; {remedy}"
        else:
            of_what = names.get(single[-1] or 0, f"class {single[-1]}")
            yield f"one class is predicted everywhere: {of_what}, {_epochs(validations)}; {remedy}"
    elif all(validation.score == 0 for validation in validations):
        yield f"the validation score is 0: {_epochs(validations)}; {remedy}"


def _fallen(validations: Sequence[Validation], best: float) -> Iterator[str]:
    """Scores below 0.7 of the best.

    Those of good runs fell to 0.64 of it once, and rose in the next validation; a best below 0.1 is chance.
    """
    if best >= 0.1 and all(0 < validation.score < 0.7 * best for validation in validations):
        scores = " and ".join(f"{validation.score:.3g}" for validation in validations)
        yield (
            f"the validation score has fallen: {scores} ({_epochs(validations)}) after {best:.3g}; lower "
            "--learning_rate or set --max_grad_norm 1; of TCSeg use tcseg_own or tcseg_short; best.pt keeps "
            "the best"
        )


def _classes_never_predicted(
    validations: Sequence[Validation], background: bool, names: Mapping[int, str]
) -> Iterator[str]:
    """Classes that labels hold and no prediction has, in any of the validations."""
    counts = [validation.confusion for validation in validations if validation.confusion is not None]
    if not counts or all(_only_class(validation) is not None for validation in validations):
        return  # of which another line speaks
    labelled, predicted = (sum(count.sum(axis) for count in counts) for axis in (1, 0))
    missing = [
        label
        for label in range(1 if background else 0, len(counts[0]))
        if labelled[label] > 0 and predicted[label] == 0  # type: ignore[index]
    ]
    if missing:
        listed = ", ".join(f"{label} ({names[label]})" if label in names else f"{label}" for label in missing)
        yield (
            f"never predicted although labelled: class {listed}, {_epochs(validations)}; a rare or small "
            "class needs more --labeled cases that show it, patches that hold it (--patch_size), or more "
            "--max_steps"
        )


def precision_signs(measured: Sequence[Precision]) -> Iterator[str]:
    """A selection that is less right than all pseudo-labels are, by 0.01 in three measurements in a row.

    In good runs it was righter in every one.
    """
    latest = measured[-3:]
    if len(latest) == 3 and all(p.selected < p.everywhere - 0.01 for p in latest):
        last = latest[-1]
        yield (
            f"the selection picks wrong pseudo-labels: {last.selected:.3f} of the selected are right at step "
            f"{last.step}, and {last.everywhere:.3f} of all (pseudo_labels.csv); choose another --selector, "
            "or raise its threshold"
        )


def _epochs(validations: Sequence[Validation]) -> str:
    if len(validations) == 1:
        return f"validation of epoch {validations[0].epoch}"
    last = "and" if len(validations) == 2 else "to"
    return f"validations of epochs {validations[0].epoch} {last} {validations[-1].epoch}"


def _only_class(validation: Validation) -> int | None:
    """The class that all predictions are, where labels hold another one."""
    if validation.confusion is None:
        return None
    predicted, labelled = (validation.confusion.sum(axis).nonzero().flatten() for axis in (0, 1))
    if len(predicted) != 1 or set(labelled.tolist()) <= set(predicted.tolist()):
        return None
    return int(predicted[0])
