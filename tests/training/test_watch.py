"""The watch on trainings of a small method: what it says, once, and what it leaves alone."""

import csv
import json
import logging

import pytest
import torch
from ignite.engine import Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler

from medssl.common.run_folder import PSEUDO_LABEL_COLUMNS
from medssl.training import JsonLogHandler, TrainingWatch, ValidationReliability
from medssl.training.runs import start_run
from tests.training.tiny import Tiny, TinyNet, make_trainer


class Watched(Tiny):
    """Says of its steps what it is told to."""

    def __init__(self, said):
        super().__init__(TinyNet(dropout=0.0), noise=0.0)
        self.said = said

    def training_step(self, batch, step):
        losses = super().training_step(batch, step)
        return losses | {name: torch.tensor(value) for name, value in self.said.items()}


def a_run(folder, *, resume=False):
    return start_run(
        folder,
        config={},
        dataset="rows",
        method="tiny",
        labeled=2,
        seed=0,
        selection="validation",
        split_sha256="0" * 64,
        resume=resume,
    )


def a_validator(predicted, *, size=(4, 4)):
    """An evaluator of one case that is half class 1, predicted as ``predicted()``, ``(2, *S)``."""
    label = torch.zeros(1, *size, dtype=torch.long)
    label[:, :2] = 1
    validator = Evaluator("cpu", [0], iteration_update=lambda *_: [{"pred": predicted(), "label": label}])
    validator.state.key_metric_name = "dice"
    ValidationReliability(2).attach(validator)

    @validator.on(Events.EPOCH_COMPLETED)
    def _score(engine):
        engine.state.metrics["dice"] = 0.5

    return validator


def watch(folder, *, said=None, validator=None, handlers=(), **options):
    """Train 120 steps and return the warnings."""
    run = a_run(folder)
    watcher = TrainingWatch(folder, validator=validator, interval=2)
    parts = [*handlers, JsonLogHandler(folder / "log.jsonl", interval=2, validator=validator), watcher]
    if validator is not None:
        parts = [ValidationHandler(1, validator), *parts]
    method = Watched(said or {})
    rates = {"lr_scheduler": None, "max_epochs": 6, "steps_per_epoch": 10}
    make_trainer(method=method, handlers=parts, **rates | options).run()
    return run.stored().get("warnings", [])


def probabilities(classes):
    return torch.nn.functional.one_hot(classes, 2).movedim(-1, 0).float()


@pytest.mark.parametrize("size", [(4, 4), (4, 4, 4)])
def test_empty_predictions_are_warned_of_once_in_images_and_scans(tmp_path, caplog, size):
    validator = a_validator(lambda: probabilities(torch.zeros(size, dtype=torch.long)), size=size)
    with caplog.at_level(logging.WARNING):
        (line,) = watch(tmp_path, validator=validator)
    assert line.startswith("no foreground is predicted: validations of epochs 1 and 2; ")
    assert [record.message for record in caplog.records] == [line]


def test_a_training_that_learns_says_nothing(tmp_path):
    half = torch.zeros(4, 4, 4, dtype=torch.long)
    half[:2] = 1
    validator = a_validator(lambda: probabilities(half), size=(4, 4, 4))
    assert watch(tmp_path, said={"selected": 0.5}, validator=validator) == []


def test_losses_are_watched(tmp_path):
    lines = watch(tmp_path, said={"selected": 0.0, "consistency": 0.0, "supervised": 0.7})
    signs = [line.split(":")[0] for line in lines]
    assert sorted(signs) == ["no pseudo-label is selected", "the supervised loss does not fall"]


def test_a_schedule_that_is_shorter_than_the_training(tmp_path):
    class Step(torch.optim.lr_scheduler.LambdaLR):
        def __init__(self, optimizer):
            super().__init__(optimizer, lambda step: 1.0 if step < 20 else 0.0)

    def shorten(engine):
        engine.lr_scheduler = Step(engine.optimizer)

    class Shorten:
        def attach(self, engine):
            engine.add_event_handler(Events.STARTED, shorten)

    (line,) = watch(tmp_path, handlers=[Shorten()])
    assert line.startswith("the learning rate is 0: since step 22 of 60 ")


def test_a_method_that_selects_everything_by_design(tmp_path):
    class Design(torch.nn.Module):
        threshold = 0.0

    method = Watched({"selected": 1.0})
    a_run(tmp_path)
    for selector, count in ((None, 1), (Design(), 0)):
        method.selector = selector
        run = a_run(tmp_path / f"{count}")
        watcher = TrainingWatch(run.path, interval=2)
        options = {"lr_scheduler": None, "max_epochs": 3, "steps_per_epoch": 10}
        make_trainer(method=method, handlers=[watcher], **options).run()
        assert len(run.stored().get("warnings", [])) == count


def test_precision_is_read_from_the_table_of_pseudo_labels(tmp_path):
    class Table:
        """Rows of three measurements: the method's own, and those of another selector."""

        def attach(self, engine):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

        def write(self, engine):
            with (tmp_path / "pseudo_labels.csv").open("w", newline="") as table:
                writer = csv.DictWriter(table, PSEUDO_LABEL_COLUMNS)
                writer.writeheader()
                for step in range(10, engine.state.iteration + 1, 10):
                    for name, ppv in (("other", 0.1), ("tiny", 0.5), ("tiny", "")):
                        row = {"step": step, "selector": name, "class": "all", "ppv": ppv, "ppv_all": 0.6}
                        writer.writerow(row)

    (line,) = watch(tmp_path, handlers=[Table()])
    assert line.startswith(
        "the selection picks wrong pseudo-labels: 0.500 of the selected are right at step 30,"
    )


def test_a_resumed_run_remembers_its_steps_and_what_was_said(tmp_path):
    a_run(tmp_path)
    entries = [
        {
            "event": "train",
            "step": step,
            "epoch": 1,
            "loss": 0.7,
            "supervised": 0.7,
            "selected": 0.0,
            "lr": 0.1,
        }
        for step in range(2, 31, 2)
    ]
    entries += [{"event": "validation", "step": 30, "epoch": 3, "dice": 0.9}]
    log = "".join(json.dumps(entry) + "\n" for entry in entries) + '{"event": "tr'
    (tmp_path / "log.jsonl").write_text(log)
    validator = a_validator(lambda: torch.rand(2, 4, 4))
    watcher = TrainingWatch(tmp_path, validator=validator, interval=2)
    record = json.loads((tmp_path / "run.json").read_text())
    record["warnings"] = ["no pseudo-label is selected: long ago; do something"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    parts = [ValidationHandler(1, validator), watcher]
    options = {"lr_scheduler": None, "max_epochs": 5, "steps_per_epoch": 10, "handlers": parts}
    trainer = make_trainer(method=Watched({"selected": 0.0, "supervised": 0.7}), **options)
    trainer.state.iteration, trainer.state.epoch = 30, 3
    trainer.run()
    signs = [line.split(":")[0] for line in json.loads((tmp_path / "run.json").read_text())["warnings"]]
    # The flat loss, seen from the start, and the fall from a score of the log.
    assert signs[0] == "no pseudo-label is selected"
    assert sorted(signs[1:]) == ["the supervised loss does not fall", "the validation score has fallen"]


def test_watching_leaves_the_training_alone(tmp_path):
    weights = []
    for name in ("watched", "alone"):
        run = a_run(tmp_path / name)
        torch.manual_seed(0)
        method = Tiny(TinyNet())
        make_trainer(
            method=method, handlers=[TrainingWatch(run.path, interval=1)] * (name == "watched")
        ).run()
        weights.append(method.network[0].weight.detach().clone())
    assert torch.equal(*weights)


def test_an_interval_below_1(tmp_path):
    with pytest.raises(ValueError, match="interval must be at least 1, got 0"):
        TrainingWatch(tmp_path, interval=0)
