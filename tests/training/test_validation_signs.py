"""Signs in validations and in the precision of pseudo-labels, and what is just no sign."""

import math

import pytest
import torch

from medssl.training.validation_signs import Precision, Validation, precision_signs, validation_signs

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
