"""Signs in the numbers of a training that something is wrong, with a likely cause and what to change.

A line is ``"SIGN: what was seen; remedy"``; the sign, before the first colon, holds no number, so that it is
said once. Thresholds are those at which runs of 200 to 6,000 steps that went well (hippocampus, left atrium,
ACDC, generated scans, CamVid; supervised, TCSeg, FixMatch, UniMatch) say nothing; docs/troubleshooting.md
lists them.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from torch import Tensor

UNLABELED_TERMS = ("calibration", "consistency", "feature", "mixing", "pseudo", "rank", "strong", "unlabeled")
"""Entries of a method's step that are unlabelled losses, before their weights."""
SHARES = ("selected", "positive")
"""Entries that are the share of the unlabelled voxels whose pseudo-label is selected."""

WINDOW = 10
"""Records that a rule looks at together. One batch may hold nothing that can be selected; ten hardly do."""
EARLIER = 20
"""Records before the last ones without which a running median says little."""
FIRST_SHARE = 0.25
"""Share of the training before which too few pseudo-labels, or a loss that does not fall, are no sign. In the
slowest good run a median of 0.001 was reached after 0.20 of it; none was below 0.02 after a quarter."""
THRESHOLDS = (
    "the threshold (--threshold for images, threshold or tau_max of a --selector overlay, "
    "--method_options::tau_max for TCSeg)"
)


class StepRecord(NamedTuple):
    """What is kept of a step.

    Attributes:
        step: completed steps.
        supervised: the supervised loss.
        unlabeled: the unlabelled losses before their weights, added up; NaN of a method without.
        selected: share of the unlabelled voxels whose pseudo-label is selected; NaN of a method without.
        lr: the highest learning rate.
    """

    step: int
    supervised: float
    unlabeled: float
    selected: float
    lr: float

    @classmethod
    def of(cls, step: int, values: Mapping[str, float | None]) -> "StepRecord":
        """The record of a step's output, or of a line of ``log.jsonl``."""
        known = {name: math.nan if value is None else value for name, value in values.items()}
        terms = [known[name] for name in UNLABELED_TERMS if name in known]
        share = next((known[name] for name in SHARES if name in known), math.nan)
        supervised = known.get("supervised", known.get("loss", math.nan))
        return cls(step, supervised, sum(terms) if terms else math.nan, share, known.get("lr", math.nan))


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


def step_signs(
    records: Sequence[StepRecord], total_steps: int, *, selects_all: bool = False
) -> Iterator[str]:
    """Signs in the losses, up to the last of the records.

    Args:
        records: of steps at a regular interval, from the first one on.
        total_steps: of the whole training.
        selects_all: the method selects every pseudo-label by design.
    """
    if len(records) < 2:
        return
    rules: list[Callable[[Sequence[StepRecord], int], str | None]] = [
        zero_learning_rate,
        flat_supervised_loss,
        nothing_selected,
        exploding_unlabeled_loss,
        zero_unlabeled_loss,
    ]
    rules += [] if selects_all else [everything_selected]
    for rule in rules:
        line = rule(records, total_steps)
        if line is not None:
            yield line


def zero_learning_rate(records: Sequence[StepRecord], total_steps: int) -> str | None:
    """A learning rate of 0 in two records with 5% of the training to come.

    One alone may be the start of a warm-up, and published schedules end at 0.
    """
    step = records[-1].step
    if any(record.lr != 0 for record in records[-2:]) or step > 0.95 * total_steps:
        return None
    return (
        f"the learning rate is 0: since step {records[-2].step} of {total_steps} nothing is learnt; give "
        "--learning_rate a number above 0, and let lr_scheduler be as long as --max_steps"
    )


def flat_supervised_loss(records: Sequence[StepRecord], total_steps: int) -> str | None:
    """No fall by 5% over the first quarter, of 20 records at least, or over all of a shorter training.

    Compared are the median of the first five records and the lowest median of any five after them, so that a
    loss that is merely noisy, or slow, has fallen. In 57 good runs it fell by 22% and more.
    """
    interval = records[1].step - records[0].step
    due = max(FIRST_SHARE * total_steps, min(EARLIER * interval, 0.95 * total_steps))
    from_start, is_due = records[0].step == interval, records[-2].step < due <= records[-1].step
    if len(records) < WINDOW or not (from_start and is_due):
        return None
    losses = [record.supervised for record in records]
    first = median(losses[:5])
    lowest = min(median(losses[start : start + 5]) for start in range(5, len(losses) - 4))
    if not lowest > 0.95 * first:
        return None
    return (
        f"the supervised loss does not fall: {first:.3g} at first and {lowest:.3g} at best until step "
        f"{records[-1].step}; try a --learning_rate ten times as high, or as low where the loss jumps, and "
        "see that labels and scans belong together (medssl check)"
    )


def nothing_selected(records: Sequence[StepRecord], total_steps: int) -> str | None:
    """A median share of selected pseudo-labels below 0.001, after a quarter of the training."""
    shares = _late(records, total_steps, [record.selected for record in records[-WINDOW:]])
    if not shares or not median(shares) < 0.001:
        return None
    return (
        f"no pseudo-label is selected: a share of {median(shares):.1g} (median of {_span(records)}), so that "
        f"little but the labelled cases teaches; lower {THRESHOLDS}, or train longer (--max_steps)"
    )


def everything_selected(records: Sequence[StepRecord], total_steps: int) -> str | None:
    """Shares of selected pseudo-labels above 0.999 in all records of a window, after a quarter."""
    shares = _late(records, total_steps, [record.selected for record in records[-WINDOW:]])
    if not shares or not min(shares) > 0.999:
        return None
    return (
        f"every pseudo-label is selected: {_span(records)}, wrong ones among them; raise {THRESHOLDS}, or "
        "see whether the predictions are all one class"
    )


def exploding_unlabeled_loss(records: Sequence[StepRecord], _: int) -> str | None:
    """Ten times its own running median, and more than the supervised loss of the start.

    Pseudo-labels are few at first, and their loss is next to 0; ten times that is no sign. What knows
    nothing has the supervised loss of the start. Where good runs came near it, they had risen to 3.4 times
    the median.
    """
    losses = [record.unlabeled for record in records[-505:]]
    if len(losses) < EARLIER + 5:
        return None
    earlier, now = median(losses[:-5]), median(losses[-5:])
    start = median(record.supervised for record in records[:5])
    if not (now > 10 * earlier and now > start):
        return None
    return (
        f"the unlabelled loss explodes: {now:.3g} about step {records[-3].step}, {earlier:.3g} before "
        "(medians); lower --learning_rate, set --max_grad_norm 1, or let the ramp be longer (--ramp_share); "
        "of TCSeg on small patches use tcseg_short"
    )


def zero_unlabeled_loss(records: Sequence[StepRecord], total_steps: int) -> str | None:
    """Below 1e-6 in all records of a window, after a quarter, although pseudo-labels are selected.

    A cross-entropy of 1e-6 is a probability that lacks a millionth; where nothing is selected, it is 0 for
    that reason.
    """
    losses = _late(records, total_steps, [record.unlabeled for record in records[-WINDOW:]])
    if not losses or not max(losses) < 1e-6:
        return None
    if median(record.selected for record in records[-WINDOW:]) < 0.001:
        return None
    return (
        f"the unlabelled loss is 0: {_span(records)}, unlabelled cases teach nothing; see whether the "
        "predictions are all one class, that the views differ (--strong_augmentation), and that no option of "
        "the method turns its losses off"
    )


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

    Those of good runs fell to 0.63 of it once, and rose in the next validation; a best below 0.1 is chance.
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


def _late(records: Sequence[StepRecord], total_steps: int, latest: list[float]) -> list[float]:
    """The values of the last window; none where one is NaN or, but at the end, from the first quarter."""
    if len(latest) < WINDOW or not all(map(math.isfinite, latest)):
        return []
    early = records[-WINDOW].step < FIRST_SHARE * total_steps and records[-1].step < 0.95 * total_steps
    return [] if early else latest


def _span(records: Sequence[StepRecord]) -> str:
    return f"steps {records[-WINDOW:][0].step} to {records[-1].step}"


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
