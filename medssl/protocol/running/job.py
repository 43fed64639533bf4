"""One planned run from beginning to end: training, then the scores of best and last."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from medssl.common.errors import InputError
from medssl.common.files import write_text
from medssl.common.lock import INHERITED, hold
from medssl.common.run_folder import RunFolder
from medssl.protocol.running.plan import PlannedRun

State = Literal["to do", "cut", "unscored", "finished"]
OUTPUT = "output.log"
BAD_INPUT = 2
# How often a folder that somebody else holds is looked at again, in seconds.
PATIENCE = 2.0
# What a stage gets to write its record, and the checkpoint that it is just writing.
SECONDS_TO_END = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        name: of the run.
        state: ``finished``, ``failed`` with a message, ``busy`` where another process holds the folder, or
            ``stopped`` on request.
        message: why the stage failed: what the training recorded, or the last line of the output.
        seconds: spent here.
    """

    name: str
    state: Literal["finished", "failed", "busy", "stopped"]
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Stage:
    """A command of a run.

    Attributes:
        title: what it does, for messages.
        command: its command line.
        done: whether it need not be run (again).
    """

    title: str
    command: tuple[str, ...]
    done: Callable[[], bool]


def stages(run: PlannedRun) -> list[Stage]:
    """The commands of a run, in order."""

    def bundle(files: list[str], **options: str) -> tuple[str, ...]:
        overrides = [part for name, value in options.items() for part in (f"--{name}", value)]
        names = "[" + ",".join(repr(name) for name in files) + "]"
        command = (sys.executable, "-m", "monai.bundle", "run")
        return (*command, "--bundle_root", str(run.bundle), "--config_file", names, *overrides)

    training = Stage(
        "training",
        bundle(run.training_files, resume="true"),
        lambda: _record(run.folder).get("status") == "finished",
    )
    tested = Stage(
        "scoring on the test cases",
        bundle(run.scoring_files, evaluate_on="test", overwrite="true"),
        lambda: _scored(run.folder, "test"),
    )
    validated = Stage(
        "scoring on the validation cases",
        bundle(run.scoring_files, evaluate_on="validation", overwrite="true"),
        # Where nobody, or the test set, chose the checkpoint, there may be no validation case at all.
        lambda: _record(run.folder).get("selection") != "validation" or _scored(run.folder, "validation"),
    )
    return [training, tested, validated]


def state(run: PlannedRun) -> State:
    """How far a run is, from its folder alone.

    Raises:
        InputError: the folder holds a run of other settings, or a damaged record.
    """
    refuse_other_settings(run)
    if _record(run.folder).get("status") != "finished":
        return "cut" if (run.folder / "last.pt").is_file() else "to do"
    return "finished" if all(stage.done() for stage in stages(run)) else "unscored"


def refuse_other_settings(run: PlannedRun) -> None:
    """An error where the folder was made with other settings than the plan's."""
    if not run.settings_file.is_file():
        if (run.folder / "last.pt").is_file():
            raise InputError(run.folder, "holds a run that no protocol made", "choose another --runs folder")
        return
    text = run.settings_file.read_text(encoding="utf-8")
    if text == run.settings_text() or not (run.folder / "run.json").is_file():
        return
    try:
        earlier = yaml.safe_load(text)
    except yaml.YAMLError:
        earlier = None
    raise InputError(
        run.folder,
        f"was run with other settings ({_difference(earlier, run)})",
        "choose another --runs folder, or remove this one",
    )


def execute(
    run: PlannedRun,
    *,
    threads: int,
    device: str | None = None,
    attempts: int = 2,
    wait: bool = False,
    started: Callable[[subprocess.Popen[bytes]], object] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run what is left of a run; each stage in a process of its own, its output in ``output.log``.

    A training that was killed goes on from its last checkpoint. A stage that fails is tried again unless its
    input was bad (exit status 2).

    Args:
        run: what to run.
        threads: of every process; results depend on it in the last digits.
        device: ``"cpu"``, ``"cuda:N"``, or None for what the process sees.
        attempts: how often a stage is tried.
        wait: wait for a folder that another process holds, instead of giving back ``busy``.
        started: called with every process that is started.
        stopped: asked before every stage and after a failure; True ends the run as ``stopped``.
    """
    began = time.monotonic()

    def outcome(state: Literal["finished", "failed", "busy", "stopped"], message: str = "") -> Outcome:
        return Outcome(run.name, state, message, time.monotonic() - began)

    while True:
        with hold(run.folder) as lock:
            if lock is not None:
                try:
                    refuse_other_settings(run)
                    write_text(run.settings_file, run.settings_text())
                    for stage in stages(run):
                        message = _run_stage(stage, run, lock, threads, device, attempts, started, stopped)
                        if stopped():
                            return outcome("stopped")
                        if message is not None:
                            return outcome("failed", message)
                except InputError as error:  # a damaged record, say: no reason to stop the other runs
                    return outcome("failed", str(error))
                return outcome("finished")
        if not wait:
            return outcome("busy")
        time.sleep(PATIENCE)


def _run_stage(
    stage: Stage,
    run: PlannedRun,
    lock: int,
    threads: int,
    device: str | None,
    attempts: int,
    started: Callable[[subprocess.Popen[bytes]], object],
    stopped: Callable[[], bool],
) -> str | None:
    """None where the stage is done, else why it failed."""
    log = run.folder / OUTPUT
    environment = {**os.environ, **_environment(threads, device), INHERITED: str(lock)}
    for _ in range(attempts):
        if stage.done() or stopped():
            return None
        with log.open("ab") as output:
            output.write(f"\n=== {stage.title}\n".encode())
            output.flush()
            process = subprocess.Popen(
                stage.command, env=environment, stdout=output, stderr=output, pass_fds=(lock,)
            )
        try:
            started(process)
            while (code := process.poll()) is None:
                time.sleep(0.1)  # and not wait(), into which a cancellation by Ray does not reach
        except BaseException:  # this process is interrupted: the stage must not outlive it
            end_process(process)
            raise
        if code == 0 and stage.done():
            return None
        if code == BAD_INPUT:
            break
    # MONAI ends with the expression that it could not evaluate; why, a training writes into its record.
    record = _record(run.folder) if code != BAD_INPUT else {}
    why = record.get("message") if record.get("status") == "failed" else None
    return f"{stage.title}: {why or _last_line(log)} (exit status {code}; {log})"


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a stage as a scheduler does, so that a training records it; kill what does not end in time.

    With SIGTERM, and not with SIGINT, which a process that was started in the background ignores.
    """
    process.terminate()
    try:
        process.wait(timeout=SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(threads: int, device: str | None) -> dict[str, str]:
    """Variables of a process; the others are inherited."""
    variables = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if device == "cpu":
        variables["CUDA_VISIBLE_DEVICES"] = ""
    elif device is not None:
        variables["CUDA_VISIBLE_DEVICES"] = device.removeprefix("cuda:")
    return variables


def _record(folder: Path) -> dict[str, Any]:
    """The run's record; empty where there is none."""
    return RunFolder(folder).read() if (folder / "run.json").is_file() else {}


def _scored(folder: Path, subset: str) -> bool:
    """Whether every checkpoint that there is has its table."""
    run = RunFolder(folder)
    kept = [name for name in ("best", "last") if (folder / f"{name}.pt").is_file()]
    scores = [file(name, subset) for name in kept for file in (run.scores, run.reliability)]
    return bool(kept) and all(path.is_file() for path in scores)


def _difference(earlier: Any, run: PlannedRun) -> str:
    if isinstance(earlier, Mapping):
        for key in sorted({*earlier, *run.settings}):
            if earlier.get(key) != run.settings.get(key):
                return f"{key} is {earlier.get(key)!r} there and {run.settings.get(key)!r} here"
    return "or with other config files"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    output = [line.strip() for line in lines if line.strip() and not line.startswith("===")]
    return output[-1] if output else "no output"


def last_step(folder: Path) -> int:
    """Steps that a run's log knows of."""
    log = folder / "log.jsonl"
    if not log.is_file():
        return 0
    for line in reversed(log.read_text(encoding="utf-8").splitlines()):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError):
            continue  # the line that a kill cut short
    return 0
