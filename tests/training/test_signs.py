"""Every sign is said of numbers that show it, and of none that lie just on the other side."""

import math

import pytest
import torch

from medssl.training.signs import (
    Precision,
    StepRecord,
    Validation,
    precision_signs,
    step_signs,
    validation_signs,
)


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


GOOD = torch.tensor([[90, 2, 1], [3, 20, 0], [1, 1, 8]])
EMPTY = torch.tensor([[93, 0, 0], [23, 0, 0], [10, 0, 0]])
LACKING = torch.tensor([[92, 1, 0], [3, 20, 0], [4, 6, 0]])
ALL_OF_2 = EMPTY.roll(2, 1)


def of_validations(*validations, ended=False, background=True, names=None, total=10):
    """The lines of some validations, after the last one; each a score, or a score and a confusion."""
    history = [
        Validation(epoch, epoch / total, *(seen if isinstance(seen, tuple) else (seen,)))
        for epoch, seen in enumerate(validations, 1)
    ]
    return list(validation_signs(history, ended=ended, background=background, names=names or {}))


@pytest.mark.parametrize(
    ("start", "validations", "options"),
    [
        ("no foreground is predicted: validations of epochs 1 and 2;", [(0.0, EMPTY)] * 2, {}),
        ("no foreground is predicted: validation of epoch 1;", [(0.0, EMPTY)], {"ended": True}),
        ("no foreground is predicted: ", [(0.5, EMPTY)] * 2, {}),  # whatever the metric makes of it
        ("the validation score is 0: validations of epochs 2 and 3;", [0.0, 0.0, 0.0], {}),
        ("the validation score is 0: ", [(0.0, GOOD)] * 2, {}),
        ("one class is predicted everywhere: class 2", [(0.1, ALL_OF_2)] * 2, {}),
        (
            "one class is predicted everywhere: sky, ",
            [(0.1, EMPTY)] * 2,
            {"background": False, "names": {0: "sky"}},
        ),
        ("the validation score has fallen: 0.4 and 0.5 (", [0.8, 0.4, 0.5], {}),
        ("the validation score has fallen: 0.4 (validation of epoch 2)", [0.8, 0.4], {"ended": True}),
        (
            "never predicted although labelled: class 2 (tail), validations of epochs 5 to 7;",
            [(0.5, LACKING)] * 7,
            {"names": {1: "head", 2: "tail"}},
        ),
        ("never predicted although labelled: class 2, ", [(0.5, LACKING)], {"ended": True, "total": 1}),
    ],
)
def test_lines_of_validations(start, validations, options):
    (line,) = of_validations(*validations, **options)
    assert line.startswith(start)
    assert ";" in line


@pytest.mark.parametrize(
    ("validations", "options"),
    [
        ([], {"ended": True}),
        ([(0.8, GOOD)] * 9, {}),
        ([(0.8, GOOD)] * 9, {"ended": True}),
        ([(0.0, EMPTY)], {}),
        ([(0.0, EMPTY), (0.1, GOOD), (0.0, EMPTY)], {}),  # never in a row
        ([(0.0, EMPTY)] * 2, {"total": 100}),  # a training that has just begun
        ([(1.0, EMPTY * torch.tensor([[1], [0], [0]]))] * 2, {}),  # nothing is labelled, either
        ([math.nan] * 3, {}),
        ([0.8, 0.4, 0.8], {"ended": True}),
        ([0.8, 0.6, 0.6], {"ended": True}),
        ([0.09, 0.01, 0.01], {}),
        ([(0.5, LACKING)] * 6, {}),  # two in the second half
        ([*[(0.5, LACKING)] * 6, (0.5, GOOD)], {}),
        ([(0.5, LACKING * torch.tensor([[1], [1], [0]]))] * 9, {}),  # nobody labelled it
        ([(0.5, torch.tensor([[0, 5, 1], [0, 5, 0], [0, 0, 3]]))] * 9, {}),  # of the background
    ],
)
def test_no_line_of_validations_without_a_reason(validations, options):
    assert of_validations(*validations, **options) == []


def test_a_selection_that_is_less_right_than_all_in_three_measurements():
    worse, better = Precision(5, 0.6, 0.7), Precision(5, 0.9, 0.7)
    (line,) = precision_signs([better, worse, worse, worse])
    assert line.startswith("the selection picks wrong pseudo-labels: 0.600 of the selected")
    for measured in ([worse, worse], [worse, better, worse, worse], [Precision(5, 0.7, 0.7)] * 3):
        assert list(precision_signs(measured)) == []
