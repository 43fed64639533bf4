import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Events

import medssl
from medssl.common import provenance
from medssl.common.errors import InputError
from medssl.common.lock import INHERITED, hold
from medssl.common.provenance import git_commit
from medssl.common.run_folder import RUN_FILES, RunFolder
from medssl.training.checkpointer import Checkpointer
from medssl.training.runs import finish_run, run_training, start_run
from medssl.training.trainer import NonFiniteLossError
from tests.training import tiny

RUN = {
    "config": {"train": {"lr": 0.01, "patch": (112, 112, 80)}, "amp": "off"},
    "dataset": "la",
    "method": "tcseg",
    "labeled": 8,
    "seed": 1,
    "selection": "validation",
    "split_sha256": "ab" * 32,
}


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.name: path.read_bytes() for path in files}


def test_a_run_begins_with_its_record_and_configuration(tmp_path):
    run = start_run(tmp_path / "out" / "run", **RUN)
    record = json.loads((tmp_path / "out/run/run.json").read_text())
    assert record == run.read()
    assert record | {name: value for name, value in RUN.items() if name != "config"} == record
    assert record["status"] == "running"
    assert record["started"] <= run.read()["started"]
    assert record["ended"] is None
    assert record["versions"]["medssl"] == medssl.__version__
    assert set(record["versions"]) == {"python", "medssl", "torch", "monai", "numpy"}
    assert isinstance(record["command"], list)
    config = yaml.safe_load((tmp_path / "out/run/config.yaml").read_text())
    assert config == {"train": {"lr": 0.01, "patch": [112, 112, 80]}, "amp": "off"}


def test_values_of_other_types_are_recorded_plainly(tmp_path):
    config = {
        "device": torch.device("cpu"),
        "lr": np.float64(0.1),
        "steps": np.int64(3),
        5: {"a": None, "b": True},
        "function": contents,
    }
    run = start_run(tmp_path, **{**RUN, "config": config})
    recorded = yaml.safe_load(run.config.read_text())
    assert recorded == {
        "device": "cpu", "lr": 0.1, "steps": "3", 5: {"a": None, "b": True}, "function": "<function contents>"
    }  # fmt: skip


def test_a_run_that_never_took_a_step_does_not_stand_in_the_way(tmp_path):
    start_run(tmp_path, **RUN)
    assert start_run(tmp_path, **{**RUN, "seed": 7}).read()["seed"] == 7


def test_an_existing_run_is_not_touched(tmp_path):
    start_run(tmp_path, **RUN)
    (tmp_path / "log.jsonl").touch()
    before = contents(tmp_path)
    with pytest.raises(
        InputError, match=r"holds a run already \(log.jsonl\); add --resume true or --overwrite"
    ):
        start_run(tmp_path, **RUN)
    assert contents(tmp_path) == before


def test_a_result_without_its_record_is_not_touched_either(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"precious")
    for resume in (False, True):
        with pytest.raises(InputError):
            start_run(tmp_path, **RUN, resume=resume)
    assert contents(tmp_path) == {"best.pt": b"precious"}


def test_other_files_in_the_folder_do_not_hinder(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard/events.out.tfevents.1").write_text("mine")
    start_run(tmp_path, **RUN)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "tensorboard/events.out.tfevents.1").exists()


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    start_run(tmp_path, **RUN)
    for name in (*set(RUN_FILES) - {"run.json"}, ".tmp-12-best.pt"):
        (tmp_path / name).write_text("old")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard/events.out.tfevents.1").write_text("old")
    for name in ("notes.txt", "tensorboard/mine.txt", "other.pt"):
        (tmp_path / name).write_text("mine")
    start_run(tmp_path, **{**RUN, "seed": 2}, overwrite=True)
    assert set(contents(tmp_path)) == {"run.json", "config.yaml", "notes.txt", "mine.txt", "other.pt"}
    assert RunFolder(tmp_path).read()["seed"] == 2


def test_a_resume_keeps_the_start_and_sets_the_status(tmp_path):
    run = start_run(tmp_path, **RUN)
    finish_run(run, status="interrupted", message="step 7")
    record = run.read()
    assert (record["status"], record["message"]) == ("interrupted", "step 7")
    assert record["ended"] is not None
    started = {**record, "started": "2026-01-01T00:00:00+00:00"}
    run.record.write_text(json.dumps(started))
    start_run(tmp_path, **RUN, resume=True)
    record = run.read()
    assert record["started"] == "2026-01-01T00:00:00+00:00"
    assert (record["status"], record["ended"], record["message"]) == ("running", None, None)


def test_a_resume_of_nothing_starts(tmp_path):
    assert start_run(tmp_path / "new", **RUN, resume=True).read()["status"] == "running"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"method": "supervised"}, "method is 'tcseg' there and 'supervised' here"),
        ({"dataset": "brats"}, "dataset is 'la' there and 'brats' here"),
        ({"labeled": 16}, "labeled is 8 there and 16 here"),
        ({"seed": 2}, "seed is 1 there and 2 here"),
        ({"selection": "none"}, "selection is 'validation' there and 'none' here"),
        ({"split_sha256": "cd" * 32}, "split_sha256 is"),
        (
            {"config": {"train": {"lr": 0.1, "patch": [112, 112, 80]}, "amp": "off"}},
            "config::train::lr is 0.01 there",
        ),
        (
            {"config": {"train": {"lr": 0.01, "patch": [112, 112, 80]}}},
            "config::amp is 'off' there and None here",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_resume_as_something_else_names_the_difference_and_touches_nothing(tmp_path, change, difference):
    start_run(tmp_path, **RUN)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=difference):
        start_run(tmp_path, **{**RUN, **change}, resume=True)
    assert contents(tmp_path) == before


def test_how_and_where_a_run_is_resumed_is_no_difference(tmp_path):
    recorded = {"lr": 1, "resume": False, "device": "cuda", "dataset_dir": "a", "bundle_root": "b"}
    start_run(tmp_path, **{**RUN, "config": recorded})
    resumed = {
        "lr": 1,
        "resume": "true",
        "overwrite": False,
        "device": "cpu",
        "dataset_dir": "c",
        "num_workers": 2,
    }
    start_run(tmp_path, **{**RUN, "config": resumed}, resume=True)


def test_a_difference_in_a_list_of_transforms_is_named_by_its_place(tmp_path):
    transforms = [{"_target_": "Spacingd", "pixdim": [1.0, 1.0, 1.0]}, {"_target_": "Flipd"}]
    start_run(tmp_path, **{**RUN, "config": {"preprocessing": transforms}})
    other = [{"_target_": "Spacingd", "pixdim": [2.0, 1.0, 1.0]}, {"_target_": "Flipd"}]
    difference = r"config::preprocessing::0::pixdim is \[1.0, 1.0, 1.0\] there and \[2.0, 1.0, 1.0\] here"
    with pytest.raises(InputError, match=difference):
        start_run(tmp_path, **{**RUN, "config": {"preprocessing": other}}, resume=True)
    with pytest.raises(InputError, match="config::preprocessing::1 is 'Flipd' there and None here"):
        start_run(tmp_path, **{**RUN, "config": {"preprocessing": transforms[:1]}}, resume=True)


def test_a_run_of_an_earlier_version_is_not_resumed(tmp_path):
    run = start_run(tmp_path, **RUN)
    record = {
        name: value for name, value in run.read().items() if name not in ("training_cases", "label_map")
    }
    run.record.write_text(json.dumps(record))
    before = contents(tmp_path)
    with pytest.raises(InputError, match="as an earlier version wrote it"):
        start_run(tmp_path, **RUN, resume=True)
    assert contents(tmp_path) == before


TRAIN = """
import sys
from tests.training.test_runs import RUN
from medssl.training.runs import start_run
start_run(sys.argv[1], **{**RUN, "seed": 5}, overwrite=len(sys.argv) > 2)
print("on", flush=True)
sys.stdin.read()
"""


def other_training(folder, *more, **options):
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(folder), *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


@pytest.mark.slow
def test_a_folder_has_one_training_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path):
    first = other_training(tmp_path)
    assert first.stdout.readline() == b"on\n"
    before = contents(tmp_path)
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match="another process trains or scores in this folder"):
            start_run(tmp_path, **{**RUN, "seed": 5}, **how)
    assert contents(tmp_path) == before
    first.kill()
    first.communicate()
    run = start_run(tmp_path, **RUN)
    refused = other_training(tmp_path, "overwrite")
    assert b"another process trains" in refused.communicate()[1]
    run_training(tiny.make_trainer(), run=run, checkpointer=Checkpointer(tmp_path))
    assert run.read()["seed"] == 1
    again = other_training(tmp_path, "overwrite")
    assert again.stdout.readline() == b"on\n"
    again.communicate()


def test_a_training_that_fails_lets_go_of_its_folder(tmp_path):
    run = start_run(tmp_path, **RUN)
    trainer = tiny.make_trainer()
    trainer.add_event_handler(Events.STARTED, lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_training(trainer, run=run, checkpointer=Checkpointer(tmp_path))
    with hold(tmp_path) as lock:
        assert lock is not None


def test_a_refused_start_lets_go_of_the_folder(tmp_path):
    (tmp_path / "best.pt").touch()
    with pytest.raises(InputError, match="holds a run already"):
        start_run(tmp_path, **RUN)
    with hold(tmp_path) as lock:
        assert lock is not None


@pytest.mark.slow
def test_a_training_under_the_lock_of_its_parent_is_not_hindered(tmp_path):
    with hold(tmp_path) as lock:
        child = other_training(tmp_path, env={**os.environ, INHERITED: str(lock)}, pass_fds=(lock,))
        assert child.stdout.readline() == b"on\n"
        stranger = other_training(tmp_path, env={**os.environ, INHERITED: str(lock)})
        assert b"another process trains" in stranger.communicate()[1]
        child.communicate()


def test_contradictions_and_unknown_selections_are_refused(tmp_path):
    with pytest.raises(InputError, match="both resume and overwrite"):
        start_run(tmp_path / "run", **RUN, resume=True, overwrite=True)
    with pytest.raises(InputError, match="did you mean 'test-oracle'"):
        start_run(tmp_path / "run", **{**RUN, "selection": "test_oracle"})
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        start_run(tmp_path / "file", **RUN)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_record_is_refused(tmp_path, text):
    start_run(tmp_path, **RUN)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json"):
        start_run(tmp_path, **RUN, resume=True)


def test_training_ends_finished(tmp_path):
    run = start_run(tmp_path, **RUN)
    run_training(tiny.make_trainer(), run=run, checkpointer=Checkpointer(tmp_path))
    assert run.read()["status"] == "finished"
    assert (tmp_path / "last.pt").exists()


def _wrapped(error):
    """An error as a config parser raises it again."""
    outer = RuntimeError("Failed to instantiate component")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), "interrupted", "step 6"),
        (
            NonFiniteLossError(5, {"loss": float("nan")}),
            "failed",
            "NonFiniteLossError: non-finite loss at step 5: loss=nan; lower --learning_rate or set "
            "--max_grad_norm 1; with --amp fp16 try bf16",
        ),
        (
            _wrapped(InputError("a.png", "is empty", "copy it again")),
            "failed",
            "InputError: a.png: is empty; copy it again",
        ),
    ],
    ids=["interrupted", "failed", "bad input"],
)
def test_training_that_breaks_off_says_so_and_can_be_resumed(tmp_path, error, status, message):
    run = start_run(tmp_path, **RUN)
    trainer = tiny.make_trainer()

    @trainer.on(Events.ITERATION_COMPLETED)
    def _raise(engine):
        if engine.state.iteration == 6:
            raise error

    with pytest.raises(type(error)):
        run_training(trainer, run=run, checkpointer=Checkpointer(tmp_path))
    record = run.read()
    assert (record["status"], record["message"]) == (status, message)

    # Scored in between: these scores are not those of the checkpoints to come.
    (tmp_path / "cases_last.csv").write_text("case,class,dice\n")
    start_run(tmp_path, **RUN, resume=True)
    resumed = tiny.make_trainer(seed=4)
    steps = []
    resumed.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: steps.append(engine.state.iteration))
    run_training(resumed, run=run, checkpointer=Checkpointer(tmp_path), resume=True)
    assert steps == list(range(5, 13))
    assert run.read()["status"] == "finished"
    assert not (tmp_path / "cases_last.csv").exists()
    # A training that is complete keeps its scores.
    (tmp_path / "cases_last.csv").write_text("case,class,dice\n")
    start_run(tmp_path, **RUN, resume=True)
    run_training(tiny.make_trainer(), run=run, checkpointer=Checkpointer(tmp_path), resume=True)
    assert (tmp_path / "cases_last.csv").exists()


def _git(folder, *arguments):
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_the_commit_is_that_of_the_repository_of_the_package(tmp_path, monkeypatch):
    package = tmp_path / "medssl"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(provenance.medssl, "__file__", str(package / "__init__.py"))
    assert git_commit() is None
    _git(tmp_path, "init", "-q")
    (tmp_path / "theirs.txt").write_text("")
    _git(tmp_path, "add", "theirs.txt")
    _git(tmp_path, "commit", "-q", "-m", "another project, in which the package is merely installed")
    assert git_commit() is None
    _git(tmp_path, "add", "medssl")
    _git(tmp_path, "commit", "-q", "-m", "package")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    assert git_commit() == commit
    (package / "__init__.py").write_text("changed = True")
    assert git_commit() == f"{commit}-dirty"
