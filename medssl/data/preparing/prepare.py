"""Preparing a data set once: from the form in which it is published to ``images/`` and ``labels/``.

The scripts ``scripts/prepare_*.py`` say what their data set looks like and how one case is converted. What
they share stands here: processes, progress bar, resuming, records and reports.
"""

import argparse
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from medssl.common.errors import (
    InputError,
    end_early,
    find_input_error,
    leave_signals_to_parent,
    signals_raise,
)
from medssl.common.files import write_text
from medssl.common.progress import Progress, log_to_terminal
from medssl.data.lists.layout import name_some
from medssl.data.preparing.forms import VOLUMES, Form
from medssl.data.reading.loading import LoadCased

Sources = Mapping[str, Mapping[str, str]]
"""By case name: where its parts lie, such as ``{"image": ..., "label": ...}``."""


@dataclass(frozen=True)
class Recipe:
    """What makes a prepared data set what it is; a folder holds cases of one recipe.

    Attributes:
        name: name of the data set.
        classes: names of the class ids 0, 1, ...
        settings: everything that changes the files, by name; plain JSON values.
    """

    name: str
    classes: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of the cases.

    Attributes:
        written: cases converted now.
        kept: cases that were there already.
        faults: line that says what is wrong, by case that could not be converted.
    """

    written: tuple[str, ...]
    kept: tuple[str, ...]
    faults: Mapping[str, str]


def prepare_set(
    out: str | Path,
    sources: Sources,
    convert: Callable[[Mapping[str, str]], Any],
    recipe: Recipe,
    *,
    form: Form = VOLUMES,
    jobs: int = 1,
    overwrite: bool = False,
) -> Outcome:
    """Write ``images/CASE``, ``labels/CASE``, with the suffixes of a form, and ``dataset.json``.

    Cases that are there already are kept, so that a run that was cut short is completed and a second run does
    nothing; each file is written whole or not at all. A case that cannot be converted does not stop the
    others.

    Args:
        out: the folder.
        sources: the cases.
        convert: makes one case of the form from its sources; a function of a module, as it goes to other
            processes.
        recipe: name, classes and settings, kept in ``dataset.json``.
        form: volumes by default.
        jobs: processes.
        overwrite: replace a set that was made by another recipe.

    Raises:
        InputError: no case, ``jobs`` below 1, a folder that holds something else, or cases of another recipe.
    """
    out = Path(out)
    if jobs < 1:
        raise InputError(f"jobs={jobs}", "must be at least 1", "ask for more")
    if not sources:
        raise InputError(recipe.name, "no case found in the source folder", "see --help for its form")
    listed = _open_set(out, recipe, form, overwrite)
    labeled = {case for case, parts in sources.items() if "label" in parts}
    pending = [case for case in sorted(sources) if not _is_done(form.paths(out, case), case in labeled)]
    waiting = set(pending)
    kept = tuple(case for case in sorted(sources) if case not in waiting)
    done = {case for case in listed if _is_done(form.paths(out, case), False)} | set(kept)
    _write_record(out, recipe, done)
    faults: dict[str, str] = {}
    write = partial(_prepare_case, out, convert, form)
    with Progress(len(pending), title=recipe.name, unit="case") as progress:
        for case, fault in _run(write, {case: sources[case] for case in pending}, jobs):
            if fault is None:
                done.add(case)
                progress.advance()
            else:
                faults[case] = fault
                progress.advance(failed=str(len(faults)))
    _write_record(out, recipe, done)
    written = tuple(case for case in pending if case not in faults)
    return Outcome(written, kept, dict(sorted(faults.items())))


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from ``folder`` down with the names of its files; links are followed, loops are not."""
    visited = set()
    for name, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(name)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders.sort()
        yield Path(name), sorted(files)


def load_case(parts: Mapping[str, str], *, h5_spacing: float = 1.0) -> tuple[MetaTensor, MetaTensor | None]:
    """Image ``(C, X, Y, Z)`` and label ``(1, X, Y, Z)``, None where there is none, with all checks."""
    load = LoadCased(["image", "label"], h5_spacing=h5_spacing)
    item = load({"image": parts["image"], **({"label": parts["label"]} if "label" in parts else {})})
    return item["image"], item.get("label")


def parser_for(description: str | None) -> argparse.ArgumentParser:
    """The options that all preparing scripts share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace a set made with other settings")
    return parser


def run_script(prepare: Callable[[], Outcome]) -> int:
    """Prepare and say what came of it.

    Returns:
        The exit status: 0, 1 where a case failed, 2 for bad input, 130 or 143 after an interruption.
    """
    log_to_terminal()
    try:
        with signals_raise():
            outcome = prepare()
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt):
            error.args = ("interrupted; the next run goes on from here",)
        status = end_early(error)
        if status is None:
            raise
        return status
    print(f"{len(outcome.written)} cases written, {len(outcome.kept)} were there already")
    for case, fault in outcome.faults.items():
        print(f"failed: {case}: {fault}", file=sys.stderr)
    if outcome.faults:
        print(f"{len(outcome.faults)} cases failed ({name_some(outcome.faults)})", file=sys.stderr)
    return 1 if outcome.faults else 0


def _is_done(paths: tuple[Path, Path], labeled: bool) -> bool:
    image, label = paths
    return image.is_file() and (label.is_file() or not labeled)


def _prepare_case(
    out: Path, convert: Callable[[Mapping[str, str]], Any], form: Form, case: str, parts: Mapping[str, str]
) -> str | None:
    """Convert and write one case; the fault in one line, None if all went well."""
    try:
        form.write(convert(parts), *form.paths(out, case))
    except Exception as error:  # one bad case must not cost the others
        input_error = find_input_error(error)
        text = " ".join(str(error).split())[:300]
        return str(input_error) if input_error else f"cannot be converted ({type(error).__name__}: {text})"
    return None


def _run(
    write: Callable[[str, Mapping[str, str]], str | None], pending: Sources, jobs: int
) -> Iterator[tuple[str, str | None]]:
    """Case and fault (None where there is none), in the order in which the cases are finished."""
    if jobs == 1 or len(pending) < 2:
        for case, parts in pending.items():
            yield case, write(case, parts)
        return
    pickle.dumps(write)  # what cannot be sent would only fail in the queue's thread, and hang the pool
    # Forked workers would inherit the threads of whoever calls this.
    pool = ProcessPoolExecutor(min(jobs, len(pending)), get_context("spawn"), initializer=_one_thread)
    try:
        futures = {pool.submit(write, case, parts): case for case, parts in pending.items()}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                yield (
                    futures[future],
                    "not converted: a process was killed (out of memory? take fewer --jobs)",
                )
    finally:
        pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    """A process for each core needs no threads besides."""
    leave_signals_to_parent()
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _open_set(out: Path, recipe: Recipe, form: Form, overwrite: bool) -> list[str]:
    """The cases that the folder lists already; removes those of another recipe where that was asked for."""
    if out.exists() and not out.is_dir():
        raise InputError(out, "is not a folder", "choose another output folder")
    path = out / "dataset.json"
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise InputError(out, "holds something else than a prepared data set", "choose an empty folder")
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        settings = {"name": record["name"], **record["settings"]}
        listed = [str(case) for case in record["cases"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, "is not the record of a prepared data set", "choose another folder") from error
    wanted = {"name": recipe.name, **recipe.settings}
    differing = sorted(key for key in {*settings, *wanted} if settings.get(key) != wanted.get(key))
    if not differing:
        return listed
    if not overwrite:
        key = differing[0]
        raise InputError(
            out,
            f"was prepared with {key}={settings.get(key)}, not {wanted.get(key)}",
            "add --overwrite or choose another folder",
        )
    for case in listed:
        for file in form.paths(out, case):
            file.unlink(missing_ok=True)
    return []


def _write_record(out: Path, recipe: Recipe, cases: set[str]) -> None:
    record = {
        "name": recipe.name,
        "classes": list(recipe.classes),
        "settings": dict(recipe.settings),
        "cases": sorted(cases),
    }
    write_text(out / "dataset.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
