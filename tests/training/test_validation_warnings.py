import json
import logging

import pytest
import torch
from ignite.engine import Events
from monai.engines import Evaluator

from medssl.common.run_folder import RunFolder
from medssl.training.runs import warn_of_run
from medssl.training.validation_warnings import REMEDY, FruitlessValidations

BACKGROUND = torch.stack([torch.ones(3, 3, 3), torch.zeros(3, 3, 3)])  # one-hot, two classes
EMPTY, FULL = [BACKGROUND, BACKGROUND], [BACKGROUND.flip(0), BACKGROUND.flip(0)]


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"status": "running"}))
    return tmp_path


def validate(run_dir, validations):
    """Validations of one epoch each, given as predictions of the cases and the key metric."""
    current = {}
    engine = Evaluator(
        torch.device("cpu"),
        list(range(2)),
        iteration_update=lambda *_: [{"pred": p} for p in current["pred"]],
    )
    engine.state.key_metric_name = "val_dice"

    @engine.on(Events.EPOCH_COMPLETED)
    def score(engine):
        engine.state.metrics["val_dice"] = current["dice"]

    FruitlessValidations(run_dir).attach(engine)
    for epoch, (pred, dice) in enumerate(validations, 1):
        current.update(pred=pred, dice=dice)
        engine.run(epoch)
    return json.loads((run_dir / "run.json").read_text()).get("warnings", [])


def test_two_empty_validations_in_a_row_are_warned_of_once(run_dir, caplog):
    with caplog.at_level(logging.WARNING):
        warnings = validate(run_dir, [(EMPTY, 0.0)] * 5)
    assert warnings == [f"validations of epochs 1 and 2: every prediction is empty; {REMEDY}"]
    assert [record.message for record in caplog.records] == warnings


def test_a_dice_of_0_with_predictions_elsewhere(run_dir):
    warnings = validate(run_dir, [(FULL, 0.4), (FULL, 0.0), (FULL, 0.0)])
    assert warnings == [f"validations of epochs 2 and 3: val_dice is 0; {REMEDY}"]


@pytest.mark.parametrize(
    "validations",
    [
        [(EMPTY, 0.0), (FULL, 0.1), (EMPTY, 0.0)],  # never in a row
        [(EMPTY, 0.0)],
        [([EMPTY[0], FULL[0]], 0.1)] * 3,  # one case of two
        [(FULL, float("nan"))] * 3,  # no reference holds a class
    ],
)
def test_no_warning_without_a_reason(run_dir, validations):
    assert validate(run_dir, validations) == []


def test_an_empty_prediction_counts_whatever_the_metric_makes_of_it(run_dir):
    assert len(validate(run_dir, [(EMPTY, 1.0)] * 2)) == 1


def test_warnings_stand_in_the_record_once_and_beside_what_was_there(run_dir):
    run = RunFolder(run_dir)
    for message in ("one", "two", "one"):
        warn_of_run(run, message)
    assert run.stored() == {"status": "running", "warnings": ["one", "two"]}
