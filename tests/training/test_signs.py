"""Every sign is said of numbers that show it, and of none that lie just on the other side."""

import math

import pytest

from medssl.training.signs import StepRecord, step_signs


def records(count=100, *, supervised=None, unlabeled=None, selected=None, lr=None, interval=10):
    """Of a training that goes well, but for what is given as a function of the share that is done."""

    def value(given, share, otherwise):
        return otherwise if given is None else given(share)

    return [
        StepRecord(
            (index + 1) * interval,
            value(supervised, share, 1 - 0.9 * share),
            value(unlabeled, share, 0.3 + 0.1 * (index % 3)),
            value(selected, share, 0.6 * share),
            value(lr, share, 0.01 * (1 - share)),
        )
        for index in range(count)
        for share in [(index + 1) / count]
    ]


def signs(history, total_steps=None, **options):
    """All signs of a training, looked for after every record, as often as they are said."""
    total = history[-1].step if total_steps is None else total_steps
    lines = (
        line for end in range(1, len(history) + 1) for line in step_signs(history[:end], total, **options)
    )
    return {line.split(":")[0]: line for line in lines}


def test_nothing_is_said_of_a_training_that_goes_well():
    assert signs(records()) == {}
    assert signs(records(5)) == {}


def test_nothing_is_said_of_a_supervised_training():
    nan = lambda _: math.nan  # noqa: E731
    assert signs(records(unlabeled=nan, selected=nan)) == {}


@pytest.mark.parametrize(
    ("sign", "changed"),
    [
        ("the learning rate is 0", {"lr": lambda share: 0.01 if share < 0.5 else 0.0}),
        ("the supervised loss does not fall", {"supervised": lambda share: 1 + 0.03 * math.cos(300 * share)}),
        ("no pseudo-label is selected", {"selected": lambda share: 0.3 if share < 0.4 else 0.0}),
        ("every pseudo-label is selected", {"selected": lambda share: share if share < 0.4 else 1.0}),
        ("the unlabelled loss explodes", {"unlabeled": lambda share: 0.4 if share < 0.8 else 4.5}),
        ("the unlabelled loss is 0", {"unlabeled": lambda share: 0.4 if share < 0.4 else 1e-8}),
    ],
)
def test_one_line_of_each_fault_with_what_to_change(sign, changed):
    said = signs(records(**changed))
    assert list(said) == [sign]
    assert ";" in said[sign]
    assert "\n" not in said[sign]


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": lambda share: 0.0 if share in (0.01, 1.0) else 0.01},  # a warm-up's start, and the end
        {"supervised": lambda share: 1.0 if share < 0.2 else 0.9},  # late
        {"selected": lambda share: 0.0 if share < 0.2 else 0.1},  # nobody is sure at first
        {"selected": lambda share: 0.0 if round(100 * share) % 5 < 2 else 0.1},
        {"selected": lambda share: 0.998},
        {"unlabeled": lambda share: 1e-4 if share < 0.3 else 0.6},  # few are selected at first
        {"unlabeled": lambda share: 0.4 if round(100 * share) % 25 else 9.0},  # a single batch
        {"unlabeled": lambda share: 1e-8 if round(100 * share) % 5 else 1e-3},
    ],
)
def test_no_line_without_a_reason(changed):
    assert signs(records(**changed)) == {}


def test_a_loss_is_0_where_nothing_is_selected_and_one_line_says_so():
    zero = lambda _: 0.0  # noqa: E731
    assert list(signs(records(selected=zero, unlabeled=zero))) == ["no pseudo-label is selected"]


def test_a_method_may_select_everything_by_design():
    history = records(selected=lambda _: 1.0)
    assert list(signs(history)) == ["every pseudo-label is selected"]
    assert signs(history, selects_all=True) == {}


def test_a_flat_loss_of_a_short_training_is_seen_at_its_end():
    flat = lambda _: 0.6  # noqa: E731
    assert list(signs(records(10, supervised=flat))) == ["the supervised loss does not fall"]
    assert signs(records(9, supervised=flat)) == {}
    resumed = records(100, supervised=flat)[10:]
    assert signs(resumed, 1000) == {}  # whoever did not see the start cannot tell


def test_records_of_the_methods_entries():
    tcseg = {
        "loss": 2.0,
        "supervised": 1.0,
        "pseudo": 0.1,
        "calibration": 0.2,
        "mixing": 0.3,
        "positive": 0.5,
    }
    assert StepRecord.of(10, tcseg | {"lr": 0.1}) == pytest.approx((10, 1.0, 0.6, 0.5, 0.1))
    fixmatch = {"loss": 1.0, "supervised": 0.7, "strong": None, "selected": 0.0, "lr": 0.1}
    record = StepRecord.of(20, fixmatch)
    assert math.isnan(record.unlabeled)
    assert record.selected == 0
    supervised = StepRecord.of(30, {"loss": 0.7, "cross_entropy": 0.2, "dice": 0.5, "lr": 0.1})
    assert supervised.supervised == 0.7
    assert math.isnan(supervised.unlabeled)
    assert math.isnan(supervised.selected)
