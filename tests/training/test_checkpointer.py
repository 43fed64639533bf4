import pytest
import torch
from ignite.engine import Events
from monai.handlers import ValidationHandler

from medssl.inference.checkpoints import load_checkpoint
from medssl.training.checkpointer import Checkpointer
from medssl.training.checkpoints import restore
from tests.training import tiny


def make(folder, dice, *, every=1, epochs=None, **options):
    """A trainer whose validation gives ``dice[epoch - 1]``."""
    trainer = tiny.make_trainer(max_epochs=epochs or len(dice))
    validator = tiny.make_validator(lambda: dice[trainer.state.epoch - 1])
    ValidationHandler(every, validator).attach(trainer)
    checkpointer = Checkpointer(folder, validator=validator, **options)
    checkpointer.attach(trainer)
    return trainer, checkpointer


def stop_after(trainer, epoch):
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=epoch), lambda engine: engine.terminate())


def epoch_of(path):
    return load_checkpoint(path)["progress"]["epoch"]


def test_best_is_the_epoch_of_the_highest_metric(tmp_path):
    trainer, checkpointer = make(tmp_path, [0.5, 0.7, 0.7, 0.6])
    trainer.run()
    assert epoch_of(checkpointer.best) == 2
    assert epoch_of(checkpointer.last) == 4
    assert load_checkpoint(checkpointer.last)["best"] == {"metric": 0.7, "epoch": 2}
    assert trainer.state.best_metric == 0.7


@pytest.mark.parametrize(("dice", "best"), [([0.9, 0.3, 0.4, 0.5], 1), ([0.9, 0.3, 0.95], 3)])
def test_after_a_resume_the_best_of_all_epochs_counts(tmp_path, dice, best):
    trainer, _ = make(tmp_path, dice)
    stop_after(trainer, 2)
    trainer.run()
    resumed, checkpointer = make(tmp_path, dice)
    restore(checkpointer.last, trainer=resumed)
    resumed.run()
    assert epoch_of(checkpointer.best) == best
    assert load_checkpoint(checkpointer.last)["best"] == {"metric": max(dice), "epoch": best}


def test_a_metric_below_zero_can_be_the_first_best(tmp_path):
    trainer, checkpointer = make(tmp_path, [-3.0, -5.0])
    trainer.run()
    assert load_checkpoint(checkpointer.best)["best"] == {"metric": -3.0, "epoch": 1}


def test_a_metric_that_is_nan_is_never_best(tmp_path, caplog):
    trainer, checkpointer = make(tmp_path, [float("nan"), 0.2, float("nan")])
    trainer.run()
    assert epoch_of(checkpointer.best) == 2
    assert "NaN at step 4" in caplog.text


def test_best_follows_the_validations_and_not_the_epochs(tmp_path):
    trainer, checkpointer = make(tmp_path, [0.9, 0.1, 0.9, 0.2, 0.9], every=2)
    trainer.run()
    assert epoch_of(checkpointer.best) == 4


def test_last_is_written_at_the_interval_and_at_the_end(tmp_path):
    trainer, checkpointer = make(tmp_path, [0.0] * 5, interval=2)
    epochs = []
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda _: epochs.append(epoch_of(checkpointer.last) if checkpointer.last.exists() else None),
    )
    trainer.run()
    assert epochs == [None, 2, 2, 4, 4]
    assert epoch_of(checkpointer.last) == 5


def test_without_validation_there_is_no_best(tmp_path):
    trainer = tiny.make_trainer(max_epochs=1)
    Checkpointer(tmp_path / "run").attach(trainer)
    assert not (tmp_path / "run").exists()
    trainer.run()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["last.pt"]


def test_attaching_twice_saves_once(tmp_path, monkeypatch):
    trainer, checkpointer = make(tmp_path, [0.1])
    checkpointer.attach(trainer)
    saves, save = [], torch.save
    monkeypatch.setattr(torch, "save", lambda value, path: (saves.append(path), save(value, path)))
    trainer.run()
    assert len(saves) == 2


def test_a_validation_after_the_save_is_an_error(tmp_path):
    trainer = tiny.make_trainer(max_epochs=2)
    validator = tiny.make_validator(lambda: 0.5)
    Checkpointer(tmp_path, validator=validator).attach(trainer)
    ValidationHandler(1, validator).attach(trainer)
    with pytest.raises(RuntimeError, match="after the ValidationHandler"):
        trainer.run()


def test_a_validation_by_hand_after_the_training_is_no_error(tmp_path):
    trainer, checkpointer = make(tmp_path, [0.1, 0.2])
    trainer.run()
    checkpointer.validator.run()


def test_a_validation_of_the_untrained_network_is_not_kept_as_best(tmp_path):
    trainer = tiny.make_trainer(max_epochs=1)
    validator = tiny.make_validator(lambda: 0.5)
    ValidationHandler(5, validator, exec_at_start=True).attach(trainer)
    checkpointer = Checkpointer(tmp_path, validator=validator)
    checkpointer.attach(trainer)
    trainer.run()
    assert not checkpointer.best.exists()


def test_another_metric_than_the_key_metric_can_count(tmp_path):
    trainer = tiny.make_trainer(max_epochs=2)
    validator = tiny.make_validator(lambda: 0.5)
    validator.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda engine: engine.state.metrics.update(nsd=torch.tensor(1.0 / engine.state.epoch)),
    )
    ValidationHandler(1, validator).attach(trainer)
    checkpointer = Checkpointer(tmp_path, validator=validator, metric="nsd")
    checkpointer.attach(trainer)
    trainer.run()
    assert load_checkpoint(checkpointer.best)["best"] == {"metric": 1.0, "epoch": 1}


def test_a_validator_without_a_metric_is_refused(tmp_path):
    validator = tiny.make_validator(lambda: 0.5)
    validator.state.key_metric_name = None
    with pytest.raises(ValueError, match="metric must be named"):
        Checkpointer(tmp_path, validator=validator).attach(tiny.make_trainer())
