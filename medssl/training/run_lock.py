"""Who works in a run's folder: one training, or any number of scorings of its checkpoints."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from medssl.common.errors import InputError
from medssl.common.lock import hold, take

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_REMEDY = "wait until that has ended, or choose another folder"
# Descriptors of the locks that this process holds, from the start of a run to the end of its training.
_held: dict[Path, int] = {}


def lock_run(folder: Path) -> bool:
    """Hold a run's folder for a training of this process; False where this process held it already.

    Raises:
        InputError: another process trains or scores in it.
    """
    folder = folder.resolve()
    if folder in _held:
        return False
    lock = take(folder)
    if lock is None:
        raise InputError(folder, "another process trains or scores in this folder", _REMEDY)
    _held[folder] = lock
    return True


def unlock_run(folder: Path) -> None:
    """Let go of the folder, if this process holds it."""
    lock = _held.pop(folder.resolve(), None)
    if lock is not None:
        os.close(lock)


def holds_run(folder: Path) -> bool:
    """Whether this process holds the folder."""
    return folder.resolve() in _held


def not_while_training(score: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function with an argument ``run_dir`` (by keyword) refuse a folder in which a training runs.

    Both checkpoints could be read, since they are written whole. But the scores would stay beside later
    checkpoints under the same names, and pass for theirs. Several scorings of one folder go together.
    """

    @wraps(score)
    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        folder = Path(str(kwargs["run_dir"])).resolve()
        if not folder.is_dir() or folder in _held:
            return score(*args, **kwargs)
        with hold(folder, shared=True) as lock:
            if lock is None:
                raise InputError(folder, "a training runs in this folder", "score it when that has ended")
            return score(*args, **kwargs)

    return guarded
