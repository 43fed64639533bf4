import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import decollate_batch
from monai.networks.utils import one_hot

from medssl.metrics import dice
from medssl.training.validation import ValidationDice
from tests.evaluation.test_scans import PREDICTED, REFERENCE, save, scored

CLASSES = 3


def validated(cases):
    """The metric after a validation of pairs of class ids, a batch a case."""
    outputs = [
        {
            "pred": one_hot(prediction[None, None].float(), CLASSES),
            "label": reference[None, None],
        }
        for prediction, reference in cases
    ]
    engine = Engine(lambda _, batch: decollate_batch(batch))
    ValidationDice(CLASSES).attach(engine, "val_dice")
    engine.run(outputs)
    return engine.state.metrics["val_dice"]


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ([1, 1, 2, 0], [1, 1, 2, 0], 1),
        ([1, 1, 2, 0], [1, 1, 0, 0], 1 / 2),  # a hallucinated class
        ([1, 1, 0, 0], [1, 1, 2, 0], 1 / 2),  # a missed one
        ([1, 1, 0, 0], [1, 1, 0, 0], 1),  # both lack class 2
        ([0, 0, 0, 0], [0, 0, 0, 0], 1),
        ([1, 1, 2, 2], [1, 1, 0, 255], 1 / 2),
        ([1, 1, 2, 2], [1, 1, 255, 255], 1),  # predicted where nobody labelled
        ([1, 1, 2, 1], [1, 1, 2, 255], 1),
    ],
)
def test_every_class_of_every_case_counts(prediction, reference, expected):
    shaped = [torch.tensor(values).reshape(2, 2, 1) for values in (prediction, reference)]
    assert validated([shaped]) == pytest.approx(expected)


def test_the_mean_is_over_cases_and_classes():
    generator = torch.Generator().manual_seed(0)
    cases = [
        (
            torch.randint(0, high, (4, 4, 4), generator=generator),
            torch.randint(0, 3, (4, 4, 4), generator=generator),
        )
        for high in (1, 2, 3)
    ]
    expected = [dice(*case, label) for case in cases for label in (1, 2)]
    assert validated(cases) == pytest.approx(math.fsum(expected) / 6)
    assert validated(cases[::-1]) == validated(cases)


def test_it_is_the_mean_dice_of_the_evaluation(tmp_path):
    unlabeled = REFERENCE.copy()
    unlabeled[:, 8:] = 255
    pairs = {
        "both": (PREDICTED, REFERENCE),
        "hallucinated": (PREDICTED, np.where(REFERENCE == 2, 0, REFERENCE)),
        "missed": (np.where(PREDICTED == 2, 0, PREDICTED), REFERENCE),
        "ignored": (PREDICTED, unlabeled),
    }
    saved = [save(tmp_path / "data", name, *pair) for name, pair in pairs.items()]
    engine, _, rows = scored(saved, tmp_path / "cases.csv")
    assert {(row["case"], row["empty"]) for row in rows} >= {
        ("hallucinated", "reference"),
        ("missed", "prediction"),
    }
    cases = [tuple(map(torch.from_numpy, pair)) for pair in pairs.values()]
    assert validated(cases) == pytest.approx(engine.state.metrics["mean_dice"], abs=1e-6)
