import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from ignite.engine import Events

from medssl.inference.checkpoints import load_checkpoint
from medssl.training.checkpointer import Checkpointer
from medssl.training.checkpoints import restore
from tests.places import ROOT
from tests.training import tiny

pytestmark = pytest.mark.slow


def assert_same(a, b, where=""):
    """Equal to the last bit, container by container."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{i}")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert a.stride() == b.stride(), where
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def log_of(folder):
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for entry in entries:
        assert entry.pop("seconds") >= 0
    return entries


KILLS = {
    "mid-epoch": {"step": 7, "workers": 0},
    "mid-epoch-workers": {"step": 10, "workers": 2},  # with batches waiting in the workers
    "in-best": {"save": 3, "workers": 0},  # while best.pt of the second epoch is being written
    "in-last": {"save": 4, "workers": 0},  # while last.pt is, best.pt being an epoch ahead
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders of runs that were killed, each in a process of its own."""
    folders = {name: tmp_path_factory.mktemp(name) for name in KILLS}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.training.tiny",
            json.dumps([{"out": str(folders[name]), **when} for name, when in KILLS.items()]),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [signal.SIGKILL] * len(KILLS)
    return folders


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run that was never killed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("uninterrupted")
    tiny.train(out)
    yield out
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kill", KILLS)
def test_a_killed_and_resumed_run_equals_one_never_killed(uninterrupted, killed, tmp_path, kill):
    out = shutil.copytree(killed[kill], tmp_path / "run")
    before = load_checkpoint(out / "last.pt")["progress"]["step"]
    assert 0 < before < tiny.STEPS * tiny.EPOCHS
    assert json.loads((out / "run.json").read_text())["status"] == "running"

    tiny.train(out, workers=KILLS[kill]["workers"], resume=True)

    for name in ("last.pt", "best.pt"):
        assert_same(load_checkpoint(uninterrupted / name), load_checkpoint(out / name))
    assert log_of(uninterrupted) == log_of(out)
    assert json.loads((out / "run.json").read_text())["status"] == "finished"


def test_the_comparison_sees_a_resume_without_generators(uninterrupted, killed, tmp_path, monkeypatch):
    """Without their states the two runs differ: the equality above is not for want of randomness."""
    out = shutil.copytree(killed["mid-epoch"], tmp_path / "run")
    monkeypatch.setattr("medssl.training.trainer.set_rng_state", lambda state, device: None)
    tiny.train(out, resume=True)
    a, b = (load_checkpoint(folder / "last.pt")["network"] for folder in (uninterrupted, out))
    assert not torch.equal(a["0.weight"], b["0.weight"])


def test_the_best_of_the_whole_run_is_its_second_epoch(uninterrupted):
    assert load_checkpoint(uninterrupted / "best.pt")["progress"]["epoch"] == 2
    assert load_checkpoint(uninterrupted / "last.pt")["best"]["epoch"] == 2


def test_a_finished_run_resumed_stays_as_it_is(uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "last.pt").stat().st_mtime_ns
    tiny.train(tmp_path, resume=True)
    assert (tmp_path / "last.pt").stat().st_mtime_ns == before
    assert log_of(uninterrupted) == log_of(tmp_path)


def test_a_training_stopped_in_mid_epoch_resumes_exactly(tmp_path):
    straight = tiny.make_trainer()
    Checkpointer(tmp_path / "a").attach(straight)
    straight.run()

    stopped = tiny.make_trainer()
    stopped.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda engine: engine.terminate())
    Checkpointer(tmp_path / "b").attach(stopped)
    stopped.run()
    resumed = tiny.make_trainer(seed=5)
    restore(tmp_path / "b/last.pt", trainer=resumed)
    assert resumed.state.iteration == 6
    Checkpointer(tmp_path / "b").attach(resumed)
    resumed.run()
    assert_same(load_checkpoint(tmp_path / "a/last.pt"), load_checkpoint(tmp_path / "b/last.pt"))


@pytest.mark.parametrize("options", [{"amp": "bf16"}, {"amp": "fp16"}, {"channels_last": True}], ids=str)
def test_resume_is_exact_in_every_precision_and_layout(tmp_path, options):
    straight = tiny.make_trainer(**options)
    Checkpointer(tmp_path / "a").attach(straight)
    straight.run()
    first = tiny.make_trainer(**options)
    first.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())
    Checkpointer(tmp_path / "b").attach(first)
    first.run()
    second = tiny.make_trainer(seed=5, **options)
    restore(tmp_path / "b/last.pt", trainer=second)
    Checkpointer(tmp_path / "b").attach(second)
    second.run()
    assert_same(load_checkpoint(tmp_path / "a/last.pt"), load_checkpoint(tmp_path / "b/last.pt"))


def test_a_sampler_that_ends_is_started_again_at_the_current_step():
    cases = tiny.make_loader()

    class OneEpoch:
        """The batches of one epoch, so that the engine asks for a new iterator every epoch."""

        start = 0

        def __iter__(self):
            return (cases.batch_sampler.batch(t) for t in range(self.start, self.start + tiny.STEPS))

    finite = torch.utils.data.DataLoader(
        cases.dataset,
        batch_sampler=OneEpoch(),
        collate_fn=cases.collate_fn,
        generator=torch.Generator(),
    )
    a, b = tiny.make_trainer(loader=finite), tiny.make_trainer()
    for trainer in (a, b):
        tiny.seed_all(3)
        trainer.run()
    assert a.state.iteration == tiny.STEPS * tiny.EPOCHS
    assert_same(a.method.state_dict(), b.method.state_dict())
