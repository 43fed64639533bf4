"""Real signals to real trainings."""

import json
import shlex
import signal

import pytest
import torch

from medssl.common.lock import is_held
from medssl.common.run_folder import RunFolder
from tests.processes import ended, start
from tests.training import tiny

pytestmark = pytest.mark.slow

# Trains until the step at which a test wants to send its signal, and waits for it there.
TRAIN = """
import sys
import torch
from ignite.engine import Events
from medssl.common.errors import install_exit_hook
from tests.processes import hang
from tests.training import tiny

torch.set_num_threads(1)

def prepare(trainer):
    @trainer.on(Events.ITERATION_COMPLETED(once=6))
    def _wait(engine):
        print("on", flush=True)
        hang()

install_exit_hook()
tiny.train(sys.argv[1], prepare=prepare)
"""
BEGIN = """
import sys
from medssl.common.errors import install_exit_hook
from medssl.training.runs import start_run
from tests.processes import hang
from tests.training.test_runs import RUN

install_exit_hook()
start_run(sys.argv[1], **RUN)
ENDS
"""


def run_to_its_end(code, number, folder):
    """Exit status and errors of a program that says ``on`` and is signalled then."""
    with start(code, folder) as process:
        assert process.stdout.readline() == "on\n"
        if number is not None:
            process.send_signal(number)
        status, _, stderr = ended(process)
    return status, stderr


@pytest.fixture
def one_thread():
    """As the other process has: sums are the same bit for bit in as many threads alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_an_interrupted_training_says_so_lets_go_and_can_be_resumed(tmp_path, number, status):
    code, stderr = run_to_its_end(TRAIN, number, tmp_path)
    assert code == status
    line = stderr.splitlines()[-1]
    assert line.startswith("interrupted at step 6; go on with: ")
    assert shlex.split(line)[-2:] == ["--resume", "true"]
    assert "Traceback" not in stderr
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["status"], record["message"]) == ("interrupted", "step 6")
    assert record["ended"] is not None
    assert not is_held(tmp_path)
    resumed = tiny.train(tmp_path, resume=True)
    uninterrupted = tiny.train(tmp_path / "other")
    assert RunFolder(tmp_path).read()["status"] == "finished"
    expected = uninterrupted.method.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.method.state_dict().items())


def test_a_run_that_was_killed_is_read_as_interrupted_and_a_living_one_as_running(tmp_path):
    with start(TRAIN, tmp_path) as process:
        assert process.stdout.readline() == "on\n"
        assert RunFolder(tmp_path).read()["status"] == "running"
        process.kill()
        process.communicate()
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "running"
    assert RunFolder(tmp_path).read()["status"] == "interrupted"


@pytest.mark.parametrize(
    ("ends", "number", "status", "record"),
    [
        ("print('on', flush=True); hang()", signal.SIGTERM, 143, ("interrupted", "before training")),
        (
            "print('on', flush=True); raise ValueError('no such scan')",
            None,
            1,
            ("failed", "ValueError: no such scan"),
        ),
    ],
    ids=["signal", "fault"],
)
def test_a_run_that_ends_before_its_training_is_not_left_running(tmp_path, ends, number, status, record):
    code, _ = run_to_its_end(BEGIN.replace("ENDS", ends), number, tmp_path)
    assert code == status
    recorded = json.loads((tmp_path / "run.json").read_text())
    assert (recorded["status"], recorded["message"]) == record
