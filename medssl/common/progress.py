"""How far a long job is, and how long it will take: a bar on a terminal, lines of the log elsewhere."""

import logging
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 60.0

Item = TypeVar("Item")

logger = logging.getLogger(__name__)


class Progress:
    """Shows how far a job is.

    On a terminal a tqdm bar. Elsewhere, in a batch job's log, say, a line of level INFO at most every
    ``seconds_between_lines``, such as ``check: 12 of 96 cases, 3 min 20 s left``; a job that is shorter says
    nothing. A context manager that closes the bar.

    Args:
        total: units in all.
        title: what is done.
        unit: such as ``"case"``.
        done: units that an earlier part of the job has done.
        inner: this is a part of another job: its bar goes when it is done.
        seconds_between_lines: see above.
    """

    def __init__(
        self,
        total: int,
        *,
        title: str,
        unit: str,
        done: int = 0,
        inner: bool = False,
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
    ) -> None:
        self.total, self.title, self.unit, self.done = total, title, unit, done
        self.seconds_between_lines = seconds_between_lines
        self._bar: tqdm[Any] = tqdm(
            total=total,
            initial=done,
            desc=title,
            unit=unit,
            disable=None,
            leave=not inner,
            dynamic_ncols=True,
        )
        self._values: dict[str, str] = {}
        self._done_before, self._began = done, monotonic()
        self._last_line = self._began
        self._has_told = False

    def __enter__(self) -> "Progress":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar."""
        self.close()

    def advance(self, units: int = 1, **values: str) -> None:
        """Move on, and show values by name from now on."""
        self.done += units
        if values:
            self._values |= values
            self._bar.set_postfix(self._values, refresh=False)
        self._bar.update(units)
        if monotonic() - self._last_line >= self.seconds_between_lines:
            self.tell()

    def tell(self, **values: str) -> None:
        """Say how far the job is now, if there is no bar to be seen."""
        self._values |= values
        self._last_line = monotonic()
        if self._bar.disable:
            self._has_told = True
            parts = [f"{self.title}: {self.done} of {self.total} {self.unit}s"]
            parts += [f"{name} {value}" for name, value in self._values.items()]
            remaining = self.seconds_left()
            parts += [] if remaining is None else [f"{duration(remaining)} left"]
            logger.info("%s", ", ".join(parts))

    def seconds_left(self) -> float | None:
        """At the mean pace so far; None before the first unit and at the end."""
        done_here = self.done - self._done_before
        if not done_here or self.done >= self.total:
            return None
        return (monotonic() - self._began) / done_here * (self.total - self.done)

    def close(self) -> None:
        """Close the bar; a job that was told of tells that it is done."""
        self._bar.close()
        if self._has_told and self.done == self.total:
            self._has_told = False
            taken = duration(monotonic() - self._began)
            logger.info("%s: all %d %ss after %s", self.title, self.total, self.unit, taken)


def track(items: Iterable[Item], total: int, *, title: str, unit: str, inner: bool = False) -> Iterator[Item]:
    """The items, with a :class:`Progress` that moves on whenever one has been dealt with."""
    with Progress(total, title=title, unit=unit, inner=inner) as progress:
        for item in items:
            yield item
            progress.advance()


def log_to_terminal() -> None:
    """Let a command show what the library logs: its lines of progress, and warnings of others."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("medssl").setLevel(logging.INFO)


def print_line(text: str) -> None:
    """Print a line to the standard output, above the bars that are shown."""
    tqdm.write(text)


def duration(seconds: float) -> str:
    """Such as ``3 min 20 s`` or ``2 h 05 min``."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    if rounded < 48 * 3600:
        return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"
    return f"{rounded / 86400:.1f} days"
