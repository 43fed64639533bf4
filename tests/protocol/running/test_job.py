import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from medssl.common.errors import InputError
from medssl.common.lock import hold, is_held
from medssl.protocol.running import estimate, job
from medssl.protocol.running.job import Stage, execute, last_step, state
from medssl.protocol.running.local import LocalPool
from medssl.protocol.running.plan import PlannedRun
from tests.places import ROOT
from tests.processes import ended, start, wait_for_file


def planned(folder, name="run", **changes):
    facts = {
        "folder": folder / name,
        "bundle": ROOT / "bundles/tcseg",
        "files": ("datasets/phantom.yaml",),
        "settings": {"max_steps": 5},
        "setting": "TCSeg",
        "dataset": "phantom",
        "labeled": 4,
        "seed": 1,
    }
    return PlannedRun(**{**facts, **changes})


@pytest.fixture
def stages(monkeypatch):
    """Let a run be any Python code, done when it has written ``done``."""

    def use(code):
        def made(run):
            command = (sys.executable, "-c", code, str(run.folder))
            return [Stage("training", command, lambda: (run.folder / "done").exists())]

        monkeypatch.setattr(job, "stages", made)

    return use


# Counts its tries in a file; what a test adds decides how the process ends.
DO = """
import os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
tries = folder / "tries"
tries.write_text((tries.read_text() if tries.exists() else "") + "x")
"""
DONE = "(folder / 'done').touch()\n"


def tries(run):
    return len((run.folder / "tries").read_text())


def test_a_run_is_executed_once(tmp_path, stages):
    stages(DO + DONE + "print('hello')")
    run = planned(tmp_path)
    assert execute(run, threads=1).state == "finished"
    assert execute(run, threads=1).state == "finished"
    assert tries(run) == 1
    assert "=== training\nhello" in (run.folder / "output.log").read_text()
    assert run.settings_file.read_text() == run.settings_text()


@pytest.mark.parametrize(("code", "expected"), [(1, 3), (2, 1)])
def test_a_failure_is_tried_again_unless_the_input_was_bad(tmp_path, stages, code, expected):
    stages(DO + f"print('error: no luck'); sys.exit({code})")
    run = planned(tmp_path)
    outcome = execute(run, threads=1, attempts=3)
    assert outcome.state == "failed"
    assert outcome.message.startswith(f"training: error: no luck (exit status {code}; ")
    assert tries(run) == expected


def test_a_process_that_is_killed_is_started_again(tmp_path, stages):
    stages(DO + "if len(tries.read_text()) == 1: os.kill(os.getpid(), signal.SIGKILL)\n" + DONE)
    run = planned(tmp_path)
    assert execute(run, threads=1, attempts=2).state == "finished"
    assert tries(run) == 2


def test_threads_and_device_reach_the_process(tmp_path, stages):
    stages(DO + "print(*(repr(os.environ[v]) for v in ('OMP_NUM_THREADS', 'CUDA_VISIBLE_DEVICES')))\n" + DONE)
    for device, seen in (("cpu", "''"), ("cuda:3", "'3'")):
        run = planned(tmp_path, device.replace(":", ""))
        assert execute(run, threads=7, device=device).state == "finished"
        assert f"'7' {seen}" in (run.folder / "output.log").read_text()


def test_a_folder_that_is_held_is_busy_or_waited_for(tmp_path, stages, monkeypatch):
    monkeypatch.setattr(job, "PATIENCE", 0.02)
    stages(DO + DONE)
    run = planned(tmp_path)
    with hold(run.folder):
        assert execute(run, threads=1).state == "busy"
        waiting = threading.Thread(target=execute, args=(run,), kwargs={"threads": 1, "wait": True})
        waiting.start()
        time.sleep(0.1)
        assert not (run.folder / "done").exists()
    waiting.join()
    assert tries(run) == 1


def test_other_settings_are_refused_and_named(tmp_path, stages):
    stages(DO + DONE + "(folder / 'run.json').write_text('{}')")
    assert execute(planned(tmp_path), threads=1).state == "finished"
    other = planned(tmp_path, settings={"max_steps": 6})
    with pytest.raises(InputError, match="max_steps is 5 there and 6 here"):
        state(other)
    outcome = execute(other, threads=1)
    assert (outcome.state, tries(other)) == ("failed", 1)
    assert "max_steps is 5 there and 6 here" in outcome.message
    with pytest.raises(InputError, match="or with other config files"):
        state(planned(tmp_path, files=("datasets/la.yaml",)))


def test_a_run_made_by_hand_is_left_alone(tmp_path):
    run = planned(tmp_path)
    run.folder.mkdir()
    (run.folder / "last.pt").touch()
    with pytest.raises(InputError, match="holds a run that no protocol made"):
        state(run)


def test_states_follow_from_the_files(tmp_path):
    run = planned(tmp_path)
    assert state(run) == "to do"
    run.folder.mkdir()
    run.settings_file.write_text(run.settings_text())
    (run.folder / "last.pt").touch()
    (run.folder / "run.json").write_text(json.dumps({"status": "running", "selection": "validation"}))
    assert state(run) == "cut"
    (run.folder / "run.json").write_text(json.dumps({"status": "finished", "selection": "validation"}))
    assert state(run) == "unscored"
    for ending in ("", "_validation"):
        assert state(run) == "unscored"
        (run.folder / f"cases_last{ending}.csv").touch()
        (run.folder / f"reliability_last{ending}.json").touch()
    assert state(run) == "finished"
    (run.folder / "best.pt").touch()
    assert state(run) == "unscored"


def test_an_oracles_run_needs_no_validation_scores(tmp_path):
    run = planned(tmp_path)
    run.folder.mkdir()
    run.settings_file.write_text(run.settings_text())
    (run.folder / "run.json").write_text(json.dumps({"status": "finished", "selection": "test-oracle"}))
    for name in ("last.pt", "cases_last.csv", "reliability_last.json"):
        (run.folder / name).touch()
    assert state(run) == "finished"


def test_the_last_step_survives_a_line_that_was_cut(tmp_path):
    assert last_step(tmp_path) == 0
    (tmp_path / "log.jsonl").write_text('{"step": 40}\n{"step": 50, "los')
    assert last_step(tmp_path) == 40


def test_a_pool_does_every_run_and_goes_past_a_failure(tmp_path, stages):
    stages(DO + "if folder.name == 'run2': sys.exit('broken')\n" + DONE)
    runs = [planned(tmp_path, f"run{number}") for number in range(5)]
    seen = []
    outcomes = LocalPool(["cpu", "cpu"], threads=1, attempts=1).run(runs, report=seen.append)
    assert outcomes == seen
    assert {o.name: o.state for o in outcomes} == {
        f"run{n}": "failed" if n == 2 else "finished" for n in range(5)
    }


def test_two_pools_on_one_folder_share_the_work(tmp_path, stages, monkeypatch):
    monkeypatch.setattr("medssl.protocol.running.local.PATIENCE", 0.02)
    stages(DO + "time.sleep(0.2)\n" + DONE)
    runs = [planned(tmp_path, f"run{number}") for number in range(4)]
    pools = [LocalPool(["cpu"], threads=1) for _ in range(2)]
    results = [[], []]
    threads = [threading.Thread(target=lambda i=i: results[i].extend(pools[i].run(runs))) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [tries(run) for run in runs] == [1, 1, 1, 1]
    for outcomes in results:
        assert {o.name for o in outcomes if o.state == "finished"} == {run.name for run in runs}


# The pool of `medssl protocol run`, whose runs are small programs that record how they end.
POOL = """
import sys
from pathlib import Path
from medssl.common.errors import end_early, signals_raise
from medssl.protocol.running import job
from medssl.protocol.running.local import LocalPool
from tests.protocol.running.test_job import WORK, planned

job.stages = lambda run: [job.Stage("work", (sys.executable, "-c", WORK, str(run.folder)), lambda: False)]
with signals_raise():
    try:
        LocalPool(["cpu", "cpu"], threads=1).run([planned(Path(sys.argv[1]), name) for name in ("a", "b")])
    except KeyboardInterrupt as error:
        sys.exit(end_early(error))
"""
WORK = """
import sys
from pathlib import Path
from medssl.common.errors import signals_raise
from tests.processes import hang
folder = Path(sys.argv[1])
with signals_raise():
    try:
        (folder / "on").touch()
        hang()
    except KeyboardInterrupt:
        (folder / "interrupted").touch()
        sys.exit(143)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "in_background", "status"),
    [(signal.SIGINT, False, 130), (signal.SIGTERM, False, 143), (signal.SIGTERM, True, 143)],
    ids=["int", "term", "background"],
)
def test_interrupting_a_pool_interrupts_its_processes(tmp_path, number, in_background, status):
    process = start(POOL, tmp_path, in_background=in_background)
    with process:
        for name in ("a", "b"):
            wait_for_file(process, tmp_path / name / "on")
        process.send_signal(number)
        assert ended(process) == (status, "", "interrupted\n")
    for name in ("a", "b"):
        assert (tmp_path / name / "interrupted").exists()
        assert not is_held(tmp_path / name)


def test_a_process_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(job, "SECONDS_TO_END", 0.1)
    stubborn = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); input()"
    )
    with start(stubborn) as process:
        assert process.stdout.readline() == "on\n"
        job.end_process(process)
        assert process.returncode == -signal.SIGKILL


def test_an_interrupted_execution_ends_its_process(tmp_path, stages):
    # Under its name only when it is whole.
    stages(
        DO + "(folder / 'part').write_text(str(os.getpid())); (folder / 'part').rename(folder / 'pid')\n"
        "time.sleep(600)"
    )

    def interrupt(process):
        wait_for_file(process, tmp_path / "run/pid")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(planned(tmp_path), threads=1, started=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "run/pid").read_text()), 0)


def test_a_process_that_starts_while_the_pool_stops_is_interrupted_too(tmp_path):
    pool = LocalPool(["cpu"], threads=1)
    pool._stop_all()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        pool._started(process)
        assert process.wait() != 0


def test_estimates_come_from_finished_runs_and_else_from_the_file(tmp_path):
    runs = [planned(tmp_path, f"run{n}", seed=n, minutes=4) for n in range(3)]
    other = planned(tmp_path, "other", setting="supervised", minutes=1)
    unknown = planned(tmp_path, "unknown", dataset="la")
    everything = [*runs, other, unknown]
    states = {run.name: "to do" for run in everything}
    assert estimate.expected_seconds(everything, states) == {
        "run0": 240, "run1": 240, "run2": 240, "other": 60, "unknown": None,
    }  # fmt: skip
    runs[0].folder.mkdir()
    (runs[0].folder / "log.jsonl").write_text('{"seconds": 1}\n{"seconds": 100.0}\n')
    (runs[0].folder / "reliability_last.json").write_text('{"cases": 8, "seconds_per_case": 2.5}')
    states["run0"] = "finished"
    seconds = estimate.expected_seconds(everything, states)
    assert seconds == {"run0": 120, "run1": 120, "run2": 120, "other": 120, "unknown": None}
