import io
import json
import logging

import pytest
import torch
from ignite.engine import Events
from monai.handlers import ValidationHandler
from tqdm import tqdm

from medssl.common import progress
from medssl.training import handlers
from medssl.training.handlers import JsonLogHandler, ProgressBar, ValidationFrom
from tests.training import tiny


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def make(path, *, interval=1, metric=lambda: 0.25):
    trainer = tiny.make_trainer()
    validator = tiny.make_validator(metric)
    ValidationHandler(1, validator).attach(trainer)
    JsonLogHandler(path, interval=interval, validator=validator).attach(trainer)
    return trainer, validator


def test_the_log_holds_steps_validations_and_epochs_in_order(tmp_path):
    trainer, _ = make(tmp_path / "log.jsonl", interval=2)
    outputs = {}
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: outputs.update({engine.state.iteration: engine.state.output}),
    )
    trainer.run()
    entries = read(tmp_path / "log.jsonl")
    assert [(entry["event"], entry["step"], entry["epoch"]) for entry in entries] == [
        (event, step, epoch)
        for epoch in (1, 2, 3)
        for event, step in (
            ("train", 4 * epoch - 2),
            ("train", 4 * epoch),
            ("validation", 4 * epoch),
            ("epoch", 4 * epoch),
        )
    ]
    assert entries[0].items() >= outputs[2].items()
    assert set(outputs[2]) == {"loss", "supervised", "consistency", "lr"}
    assert entries[2]["dice"] == 0.25
    times = [entry["seconds"] for entry in entries]
    assert times == sorted(times)


def test_a_value_that_is_not_finite_is_null(tmp_path):
    trainer, _ = make(tmp_path / "log.jsonl", metric=lambda: float("nan"))
    trainer.run()
    assert [entry["dice"] for entry in read(tmp_path / "log.jsonl") if entry["event"] == "validation"] == [
        None
    ] * 3


def test_a_new_run_begins_an_empty_log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "train", "step": 1, "seconds": 1}\n')
    trainer, _ = make(path, interval=4)
    trainer.run()
    assert len(read(path)) == 9


def test_lines_beyond_the_resumed_step_and_a_cut_line_are_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"event": "train", "step": step, "seconds": 10.0 * step}) for step in range(1, 7)]
    path.write_text("\n".join(lines) + '\n{"event": "tr')
    trainer, _ = make(path)
    trainer.state.iteration, trainer.state.epoch = 4, 1
    trainer.run()
    entries = read(path)
    assert [entry["step"] for entry in entries if entry["event"] == "train"] == list(range(1, 13))
    assert entries[4]["seconds"] >= 40.0


def test_an_interval_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="interval must be at least 1, got 0"):
        JsonLogHandler(tmp_path / "log.jsonl", interval=0)


def test_one_bar_runs_over_all_epochs(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    bars = []

    def opened(**options):
        bars.append(tqdm(file=terminal, **options))
        return bars[-1]

    monkeypatch.setattr(progress, "tqdm", opened)
    trainer = tiny.make_trainer()
    validator = tiny.make_validator(lambda: 0.25)
    ValidationHandler(1, validator).attach(trainer)
    ProgressBar(validator=validator).attach(trainer)
    trainer.run()
    (bar,) = bars
    assert (bar.n, bar.total) == (12, 12)
    assert f"loss={trainer.state.output['loss']:.4f}" in bar.postfix
    assert "dice=0.2500" in bar.postfix
    assert "Tiny" in terminal.getvalue()


def test_without_a_terminal_every_validation_has_a_line_with_the_time_left(caplog, capsys):
    caplog.set_level(logging.INFO, logger="medssl")
    losses = []
    trainer = tiny.make_trainer()
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: losses.append(engine.state.output["loss"])
    )
    validator = tiny.make_validator(lambda: 0.25)
    ValidationHandler(1, validator).attach(trainer)
    ProgressBar(validator=validator).attach(trainer)
    trainer.run()
    lines = [record.getMessage() for record in caplog.records if record.name == progress.__name__]
    assert lines == [
        f"Tiny: 4 of 12 steps, loss {losses[0]:.4f}, dice 0.2500, 0 s left",
        f"Tiny: 8 of 12 steps, loss {losses[1]:.4f}, dice 0.2500, 0 s left",
        f"Tiny: 12 of 12 steps, loss {losses[2]:.4f}, dice 0.2500",
        "Tiny: all 12 steps after 0 s",
    ]
    assert capsys.readouterr().err == ""


def test_metrics_that_are_no_numbers_are_left_out():
    engine = tiny.make_validator(lambda: 0.25)
    engine.state.metrics = {"dice": torch.tensor(0.5), "per_class": torch.ones(2), "name": "x", "n": 3}
    assert handlers.scalar_metrics(engine) == {"dice": 0.5, "n": 3.0}


def test_validations_start_at_an_epoch(tmp_path):
    trainer, validator = tiny.make_trainer(), tiny.make_validator(lambda: 0.25)
    ValidationFrom(start=2, interval=1, validator=validator).attach(trainer)
    JsonLogHandler(tmp_path / "log.jsonl", validator=validator).attach(trainer)
    trainer.run()
    epochs = [entry["epoch"] for entry in read(tmp_path / "log.jsonl") if entry["event"] == "validation"]
    assert epochs == [2, 3]
