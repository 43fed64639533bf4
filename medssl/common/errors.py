"""What ends a process early, bad input or an interruption: one line for the user, and an exit status."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_INTERRUPTION = 5.0
"""Seconds in which a second signal is the first one again: a terminal and a parent may both send it."""

AnyError = TypeVar("AnyError", bound=BaseException)


class InputError(ValueError):
    """What a user handed in cannot be used.

    Commands print the line and exit with status 2; as a library exception it is a ``ValueError``.

    Args:
        where: file, case or option at fault.
        fault: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, where: str | Path, fault: str, remedy: str) -> None:
        super().__init__(f"{where}: {fault}; {remedy}")
        self.where, self.fault, self.remedy = str(where), fault, remedy

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """Pickle with the three parts, so that the error survives a worker process."""
        return type(self), (self.where, self.fault, self.remedy)


class Interruption(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    Args:
        message: the line that the user reads.
        signal_number: the signal; the exit status is 128 more.
    """

    def __init__(self, message: str = "interrupted", *, signal_number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signal_number = int(signal_number)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An :class:`InputError` for a name that is not among the ``known``, with the nearest one suggested."""
    known = sorted(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of " + ", ".join(known)
    return InputError(f"{kind} {name!r}", "no such name", hint)


def find_input_error(error: BaseException | None) -> InputError | None:
    """The :class:`InputError` behind an exception, which a config parser or a loader may have wrapped."""
    return _behind(error, InputError)


def signal_of(error: KeyboardInterrupt) -> int:
    """Number of the signal behind an interruption: SIGINT where Python raised it by itself."""
    return error.signal_number if isinstance(error, Interruption) else int(signal.SIGINT)


def before_early_end(action: Callable[[BaseException], object]) -> None:
    """Have ``action`` called with the exception that ends this process, before its line is printed."""
    _before_early_end.append(action)


def end_early(error: BaseException) -> int | None:
    """Print the one line of an exception that ends the process.

    Returns:
        The exit status: 2 for an :class:`InputError`, 130 after Ctrl-C, 143 after SIGTERM; None for a fault
        of the program, of which nothing is printed: its traceback should be.
    """
    while _before_early_end:
        _before_early_end.pop()(error)
    interruption, input_error = _behind(error, KeyboardInterrupt), find_input_error(error)
    if interruption is not None:
        line, status = str(interruption) or "interrupted", 128 + signal_of(interruption)
        if sys.stderr.isatty():
            print(file=sys.stderr)  # below the bar, and below ^C
    elif input_error is not None:
        line, status = f"error: {input_error}", 2
    else:
        return None
    if interruption is None or os.environ.get("RANK", "0") == "0":  # torchrun interrupts all its processes
        print(line, file=sys.stderr)
    return status


@contextmanager
def signals_raise() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise :class:`Interruption` in the main thread while the block lasts."""
    previous = _handle_signals()
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def install_exit_hook() -> None:
    """Let an uncaught :class:`InputError`, Ctrl-C and SIGTERM end the process as :func:`end_early` says.

    For programs whose ``main`` is not ours (``python -m monai.bundle``, which wraps what a config
    raises). Everything else keeps the traceback of the hook that was there before. Installing twice
    changes nothing.
    """
    previous: Callable[[type[BaseException], BaseException, TracebackType | None], object] = sys.excepthook
    if getattr(previous, "__name__", "") == "_medssl_exit_hook":
        return

    def _medssl_exit_hook(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        status = end_early(error)
        if status is None:
            previous(kind, error, trace)
            return
        sys.stdout.flush()
        sys.stderr.flush()
        # At once: a loader's threads may be inside C++, where an interpreter that winds down aborts.
        os._exit(status)

    sys.excepthook = _medssl_exit_hook
    _handle_signals()


def leave_signals_to_parent() -> None:
    """Ignore Ctrl-C in a worker process, whose parent hears it, too, and ends the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _handle_signals() -> dict[int, Any]:
    """Set the handlers; the previous ones by signal."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # only the main thread may
    last_signal = -ONE_INTERRUPTION

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal last_signal
        now = time.monotonic()
        if now - last_signal >= ONE_INTERRUPTION:  # what the first one set off is not to be cut short
            last_signal = now
            raise Interruption(signal_number=number)

    previous = {}
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a job in the background of a script
            previous[int(number)] = signal.signal(number, interrupt)
    return previous


def _behind(error: BaseException | None, kind: type[AnyError]) -> AnyError | None:
    """The exception of a kind in a chain of causes and contexts."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, kind):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


# What is to be closed where the process ends early: the records of runs that have begun.
_before_early_end: list[Callable[[BaseException], object]] = []
