"""The folder that a run leaves: what was run, how it went, and where everything lies."""

import json
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, get_args

import yaml
from monai.bundle import ConfigParser

from medssl.common.errors import (
    InputError,
    Interruption,
    before_early_end,
    find_input_error,
    signal_of,
    unknown_name,
)
from medssl.common.files import atomic_path, write_text
from medssl.common.next_steps import after_run, resume_command
from medssl.common.provenance import git_commit, plain, versions
from medssl.common.ranks import on_first_rank, rank
from medssl.common.run_folder import RUN_FILES, SCORES, RunFolder, Selection, Status
from medssl.training.checkpointer import Checkpointer
from medssl.training.checkpoints import restore
from medssl.training.configuration import HOW_AND_WHERE, first_difference
from medssl.training.cost import training_cost
from medssl.training.run_lock import holds_run, lock_run, unlock_run
from medssl.training.trainer import SemiSupervisedTrainer

_EVENTS = "tensorboard/events.out.tfevents.*"
# What is written before the first step: a run that ended there left nothing to lose.
_BEFORE_STEPS = ("run.json", "config.yaml", "metadata.json", "logging.conf", "calibrator.pt")

logger = logging.getLogger(__name__)


def start_run(
    out: str | Path,
    *,
    config: Mapping[str, Any],
    dataset: str,
    method: str,
    labeled: int,
    seed: int,
    selection: Selection,
    split_sha256: str,
    setting: str | None = None,
    dataset_fingerprint: str | None = None,
    test_fingerprint: str | None = None,
    label_map: Mapping[Any, int] | None = None,
    training_cases: Sequence[str] | None = None,
    annotations_sha256: str | None = None,
    logging_conf: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> RunFolder:
    """Make a run's folder, lock it, and write ``run.json`` and ``config.yaml`` into it.

    ``config.yaml`` is what MONAI merged, as text, so that it can be the first config file of whatever follows
    the training; ``metadata.json`` and ``logging.conf``, which MONAI looks for beside the first one, lie
    there, too. The folder stays locked until :func:`run_training` ends or the process does; where the process
    is ended before, while it reads the data, say, the record tells so. With several processes the first one
    does it all and the others wait.

    Args:
        out: the folder.
        config: the merged configuration (:func:`medssl.training.merged_configuration`); a resumed one must be
            the same but for :data:`medssl.training.configuration.HOW_AND_WHERE`.
        dataset: name of the data set.
        method: name of the method.
        labeled: number of labelled cases.
        seed: the seed.
        selection: who chooses ``best.pt``: ``"validation"`` cases, the test cases (``"test-oracle"``), or
            nobody (``"none"``).
        split_sha256: hash of the case lists.
        setting: name of the row that the run belongs to in a table, such as ``"TCSeg w/o U(v)"``; by default
            the method's name.
        dataset_fingerprint: hash of the files that the run reads
            (:func:`medssl.data.contents_sha256`).
        test_fingerprint: that of the test files alone; runs that differ in it are never compared.
        label_map: stored class ids that stand for others, which a datalist may bring.
        training_cases: names of the labelled cases, on which nothing must be fitted or scored later.
        annotations_sha256: hash of the annotation maps, of a method that learns from an annotator.
        logging_conf: the bundle's; left out where there is no such file.
        resume: go on with the run in the folder, or start it where there is none yet.
        overwrite: remove what an earlier run wrote, and nothing else.

    Raises:
        InputError: the folder holds a run and neither ``resume`` nor ``overwrite`` was asked for, or both
            were; the run to resume differs; another process works in the folder; an unknown ``selection``.
            Nothing has been touched then.
    """
    if selection not in get_args(Selection):
        raise unknown_name("selection", str(selection), get_args(Selection))
    if resume and overwrite:
        raise InputError(out, "both resume and overwrite", "choose one of them")
    identity = {
        "dataset": dataset,
        "method": method,
        "labeled": int(labeled),
        "seed": int(seed),
        "selection": selection,
        "split_sha256": split_sha256,
        "setting": setting or method,
        "dataset_fingerprint": dataset_fingerprint,
        "test_fingerprint": test_fingerprint,
        "label_map": plain(label_map),
        "training_cases": plain(training_cases),
        "annotations_sha256": annotations_sha256,
    }
    run = RunFolder(Path(out))
    # As the files will give them back.
    identity = json.loads(json.dumps(identity))
    merged = yaml.safe_load(yaml.safe_dump(plain(config), sort_keys=False))

    def begin() -> None:
        if run.path.exists() and not run.path.is_dir():
            raise InputError(run.path, "not a folder", "choose another output folder")
        newly_locked = lock_run(run.path)
        try:
            _open(run, identity, merged, logging_conf, resume=resume, overwrite=overwrite)
        except BaseException:
            if newly_locked:
                unlock_run(run.path)
            raise
        before_early_end(partial(_record_early_end, run))

    on_first_rank(begin)
    return run


def _open(
    run: RunFolder,
    identity: dict[str, Any],
    merged: dict[str, Any],
    logging_conf: str | Path | None,
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    metadata = merged.pop(ConfigParser.meta_key, None)
    present = [run.path / name for name in RUN_FILES if (run.path / name).exists()]
    begun = [path for path in present if path.name not in _BEFORE_STEPS]
    if resume and present:
        record = run.read()
        _refuse_difference(run, identity, record, merged)
        logger.info("going on with the run in %s", run.path)
        if record.get("versions") != versions():
            logger.warning("%s was begun with other versions: %s", run.path, record.get("versions"))
    elif begun and not overwrite:
        raise InputError(
            run.path,
            f"holds a run already ({begun[0].name})",
            "add --resume true or --overwrite true, or choose another folder",
        )
    else:
        if overwrite:
            for path in _files_of_run(run.path):
                path.unlink()
        record = {}
        write_text(run.config, yaml.safe_dump(merged, sort_keys=False, allow_unicode=True))
        if metadata:
            write_text(run.path / "metadata.json", json.dumps(metadata, indent=2) + "\n")
        if logging_conf is not None and Path(logging_conf).is_file():
            with atomic_path(run.path / "logging.conf") as temporary:
                shutil.copyfile(logging_conf, temporary)
    record |= identity
    record |= {"status": "running", "started": record.get("started", _now()), "ended": None, "message": None}
    record |= {"versions": versions(), "git_commit": git_commit(), "command": list(sys.argv)}
    _write(run, record)


def finish_run(
    run: RunFolder,
    *,
    status: Status = "finished",
    message: str | None = None,
    cost: Mapping[str, Any] | None = None,
) -> None:
    """Write how the run ended, and what it cost, into its ``run.json``; the first process does it."""
    if rank() == 0:
        end = {"status": status, "ended": _now(), "message": message}
        _write(run, run.stored() | end | ({"cost": dict(cost)} if cost else {}))


def warn_of_run(run: RunFolder, message: str) -> None:
    """Log a warning and keep it under ``warnings`` of ``run.json``, once; the first process does it."""
    if rank() != 0:
        return
    record = run.stored()
    warnings = record.get("warnings") or []
    if message not in warnings:
        logger.warning("%s", message)
        _write(run, record | {"warnings": [*warnings, message]})


def run_training(
    trainer: SemiSupervisedTrainer, *, run: RunFolder, checkpointer: Checkpointer, resume: bool = False
) -> None:
    """Train until the end and keep the run's status.

    What the method's schedule is too long for is warned of first, in the log and in ``run.json``. The
    checkpointer is attached here, after all other handlers, unless it has been. With ``resume``, training
    goes on from ``last.pt`` where there is one. Afterwards the status is ``finished``, and the log says what
    to type next; ``interrupted`` after Ctrl-C or SIGTERM; ``failed``, with the message, after any other
    error. Both are raised again, so that nothing that should follow a training follows them. The folder is
    locked meanwhile.

    Raises:
        InputError: another process trains or scores in the folder; what a resume may refuse.
        Interruption: says at which step, and how to go on.
    """
    for message in trainer.method.schedule_warnings(trainer.total_steps):
        warn_of_run(run, message)
    checkpointer.attach(trainer)
    on_first_rank(lambda: lock_run(run.path))
    try:
        _train(trainer, run=run, checkpointer=checkpointer, resume=resume)
    finally:
        unlock_run(run.path)


def _train(
    trainer: SemiSupervisedTrainer, *, run: RunFolder, checkpointer: Checkpointer, resume: bool
) -> None:
    try:
        if resume and checkpointer.last.exists():
            restore(checkpointer.last, trainer=trainer)
            logger.info("resumed from %s at step %d", checkpointer.last, trainer.state.iteration)
        first_step = trainer.state.iteration
        if first_step < trainer.total_steps:
            on_first_rank(lambda: _remove_scores(run.path))
        trainer.run()
    except KeyboardInterrupt as error:
        step = trainer.state.iteration
        finish_run(run, status="interrupted", message=f"step {step}")
        raise Interruption(
            f"interrupted at step {step}; go on with: {resume_command()}", signal_number=signal_of(error)
        ) from error
    except Exception as error:
        finish_run(run, status="failed", message=_words(error))
        raise
    # A training that was complete before has nothing new to say about its cost.
    has_trained = trainer.state.iteration > first_step
    cost = training_cost(trainer, run.path / "log.jsonl") if has_trained else None
    finish_run(run, cost=cost)
    if rank() == 0:
        logger.info("trained: %s; next: %s", run.path, after_run(run))


def _record_early_end(run: RunFolder, error: BaseException) -> None:
    """Of a process that ends between :func:`start_run` and :func:`run_training`."""
    if not holds_run(run.path) or run.read()["status"] != "running":
        return
    if isinstance(error, KeyboardInterrupt):
        finish_run(run, status="interrupted", message="before training")
    else:
        finish_run(run, status="failed", message=_words(error))


def _words(error: BaseException) -> str:
    """What ``run.json`` says of an error: the bad input behind it, where there is one, else its own words."""
    input_error = find_input_error(error)
    cause = error if input_error is None else input_error
    return f"{type(cause).__name__}: {cause}"


def _remove_scores(folder: Path) -> None:
    """Remove scores of earlier checkpoints, which would pass for those of the checkpoints to come."""
    for name in SCORES:
        (folder / name).unlink(missing_ok=True)


def _refuse_difference(
    run: RunFolder, identity: Mapping[str, Any], record: Mapping[str, Any], merged: Mapping[str, Any]
) -> None:
    if "training_cases" not in record:
        fault = "is a list of settings, as an earlier version wrote it, and says too little for a resume"
        raise InputError(run.config, fault, "resume with that version, or start the run anew with overwrite")
    config, recorded_config = (
        {name: value for name, value in settings.items() if name not in HOW_AND_WHERE}
        for settings in (merged, run.settings())
    )
    compared = [(name, value, record.get(name)) for name, value in identity.items()]
    for name, value, recorded in (*compared, ("config", config, recorded_config)):
        difference = first_difference(name, value, recorded)
        if difference is not None:
            raise InputError(
                run.path,
                f"the run there differs: {difference}",
                f"resume with its settings ({run.config.name} there holds them all) or choose another folder",
            )


def _files_of_run(folder: Path) -> list[Path]:
    """The files of an earlier run, with those that a kill left half-written."""
    files = [folder / name for name in RUN_FILES]
    halves = [path for name in RUN_FILES for path in folder.glob(f".tmp-*-{name}")]
    return [path for path in (*files, *halves, *folder.glob(_EVENTS)) if path.is_file()]


def _write(run: RunFolder, record: dict[str, Any]) -> None:
    write_text(run.record, json.dumps(record, indent=2) + "\n")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
