"""Bad input: one line that names the file, the fault and the remedy."""

import os
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType


class InputError(ValueError):
    """What a user handed in cannot be used.

    Commands print the line and exit with status 2; as a library exception it is a ``ValueError``.

    Args:
        where: file, case or option at fault.
        fault: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, where: str | Path, fault: str, remedy: str) -> None:
        """Compose the line ``where: fault; remedy``."""
        super().__init__(f"{where}: {fault}; {remedy}")
        self.where, self.fault, self.remedy = str(where), fault, remedy

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """Pickle with the three parts, so that the error survives a worker process."""
        return type(self), (self.where, self.fault, self.remedy)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An :class:`InputError` for a name that is not among the ``known``, with the nearest one suggested."""
    known = sorted(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of " + ", ".join(known)
    return InputError(f"{kind} {name!r}", "no such name", hint)


def find_input_error(error: BaseException | None) -> InputError | None:
    """The :class:`InputError` behind an exception, which a config parser or a loader may have wrapped."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, InputError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


def install_exit_hook() -> None:
    """Let an uncaught :class:`InputError` end the process with its one line and exit status 2.

    For programs whose ``main`` is not ours (``python -m monai.bundle``, which wraps what a config
    raises). Everything else keeps the traceback of the hook that was there before. Installing twice
    changes nothing.
    """
    previous: Hook = sys.excepthook
    if getattr(previous, "__name__", "") == "_medssl_exit_hook":
        return

    def _medssl_exit_hook(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        found = find_input_error(error)
        if found is None:
            previous(kind, error, trace)
            return
        print(f"error: {found}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # At once: a loader's threads may be inside C++, where an interpreter that winds down aborts.
        os._exit(2)

    sys.excepthook = _medssl_exit_hook
