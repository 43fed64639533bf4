"""Signs in the losses of a training that something is wrong, with a likely cause and what to change.

A line is ``"SIGN: what was seen; remedy"``; the sign, before the first colon, holds no number, so that it is
said once. Thresholds are those at which runs of 200 to 6,000 steps that went well (hippocampus, left atrium,
ACDC, generated scans, CamVid; supervised, TCSeg, FixMatch, UniMatch) say nothing; docs/troubleshooting.md
lists them.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

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


def _late(records: Sequence[StepRecord], total_steps: int, latest: list[float]) -> list[float]:
    """The values of the last window; none where one is NaN or, but at the end, from the first quarter."""
    if len(latest) < WINDOW or not all(map(math.isfinite, latest)):
        return []
    early = records[-WINDOW].step < FIRST_SHARE * total_steps and records[-1].step < 0.95 * total_steps
    return [] if early else latest


def _span(records: Sequence[StepRecord]) -> str:
    return f"steps {records[-WINDOW:][0].step} to {records[-1].step}"
