"""What a selector has learnt is part of the method: saved, resumed and left alone by those who only look."""

import pytest
import torch
from ignite.engine import Events

from medssl.evaluation.pseudo_labels import PseudoLabelQuality
from medssl.inference.checkpoints import load_checkpoint
from medssl.methods import SigmoidRamp, TCSeg
from medssl.reliability import Selection, Selector, confidence
from medssl.training.checkpointer import Checkpointer
from medssl.training.checkpoints import restore
from tests.methods.two_decoders import TwoDecoders
from tests.training import tiny
from tests.training.test_resume import assert_same


class RunningLevel(Selector):
    """Believes what is surer than the voxels have been so far, and keeps an agent of their features."""

    def __init__(self):
        super().__init__()
        self.register_buffer("level", torch.tensor(0.5))
        self.register_buffer("agent", torch.zeros(6))
        self.register_buffer("calls", torch.tensor(0))

    @torch.no_grad()
    def select(self, views, *, features=None):
        sure = confidence(views)
        if self.training:
            self.level.lerp_(sure.mean(), 0.2)
            self.agent.lerp_(features[0].mean((0, *range(2, features[0].ndim))), 0.2)
            self.calls += 1
        return Selection(views[0].argmax(1), sure >= self.level)


def trainer_of(seed=0, **options):
    tiny.seed_all(seed)
    method = TCSeg(
        TwoDecoders(dropout=0.2), selector=RunningLevel(), ramp=SigmoidRamp(1.0, 0), warmup=2, seed=1
    )
    return tiny.make_trainer(seed=seed, method=method, **options)


def test_a_selectors_state_is_saved_and_resumed_bit_for_bit(tmp_path):
    straight = trainer_of()
    Checkpointer(tmp_path / "a").attach(straight)
    straight.run()

    cut = trainer_of()
    cut.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda engine: engine.terminate())
    Checkpointer(tmp_path / "b").attach(cut)
    cut.run()
    resumed = trainer_of(seed=5)
    restore(tmp_path / "b/last.pt", trainer=resumed)
    assert int(resumed.method.selector.calls) == 6
    Checkpointer(tmp_path / "b").attach(resumed)
    resumed.run()

    uninterrupted, again = (load_checkpoint(tmp_path / name / "last.pt") for name in "ab")
    assert_same(uninterrupted, again)
    assert int(uninterrupted["method"]["selector.calls"]) == tiny.STEPS * tiny.EPOCHS
    assert uninterrupted["method"]["selector.level"] != 0.5
    assert uninterrupted["method"]["selector.agent"].any()
    assert not any("selector" in key for key in uninterrupted["network"])


def test_the_state_matters_in_the_comparison(tmp_path):
    """A resume that forgot the selector would end elsewhere."""
    straight = trainer_of()
    straight.run()
    forgetful = trainer_of()

    @forgetful.on(Events.ITERATION_COMPLETED(once=6))
    def _forget(engine):
        engine.method.selector.level.fill_(0.99)

    forgetful.run()
    a, b = (trainer.method.network.state_dict() for trainer in (straight, forgetful))
    assert any(not torch.equal(a[key], b[key]) for key in a)


def test_looking_at_pseudo_labels_leaves_the_selector_as_it_was(tmp_path):
    cases = [{"case": f"c{i}", **case} for i, case in enumerate(tiny.make_cases(labeled=3, unlabeled=0))]
    quality = PseudoLabelQuality(
        tmp_path / "q.csv",
        cases=cases,
        preprocessing=lambda item: item,
        augmentation=None,
        num_classes=2,
        name="own",
    )
    states = []
    for handlers in ([quality], []):
        trainer = trainer_of(handlers=handlers)
        trainer.run()
        states.append(trainer.method.state_dict())
    assert (tmp_path / "q.csv").is_file()
    assert_same(*states)


def test_a_checkpoint_of_another_selector_is_not_resumed(tmp_path):
    trainer = trainer_of(max_epochs=1)
    Checkpointer(tmp_path).attach(trainer)
    trainer.run()
    other = tiny.make_trainer(method=TCSeg(TwoDecoders(dropout=0.2)))
    with pytest.raises(ValueError, match="selector"):
        restore(tmp_path / "last.pt", trainer=other)
