"""A plan as a table for the terminal."""

import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from medssl.common.progress import duration
from medssl.planning.plan import Plan

WIDTH = 110
NAME, VALUE = 22, 26


def plan_summary(plan: Plan) -> str:
    """Decision, value and reason of every line, then time, memory, and what is not known."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    width = max(shutil.get_terminal_size((WIDTH, 24)).columns, 80)
    rows = [("decision", "value", "reason"), ("method", plan.method, plan.verdict)]
    rows += [(decision.name, _short(decision.value), decision.reason) for decision in plan.decisions]
    for row in rows:
        yield from _row(row, (NAME, VALUE, width - NAME - VALUE - 4))
    times = plan.schedule
    yield ""
    parts = [f"training {duration(times.training_seconds)}"]
    if times.validation_seconds:
        parts.append(f"validations {duration(times.validation_seconds)}")
    if times.scoring_seconds:
        parts.append(f"scoring of the test cases {duration(times.scoring_seconds)}")
    yield f"time: {duration(times.seconds)} ({', '.join(parts)})"
    if plan.memory_mb is not None:
        yield f"memory: about {plan.memory_mb:.0f} MiB beside what the program takes"
    yield from textwrap.wrap(f"budget: {plan.verdict}", width)
    for line in plan.not_known:
        yield from textwrap.wrap(f"not known: {line}", width, subsequent_indent="  ")


def _short(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        names = [entry["_target_"] if isinstance(entry, dict) else entry.removeprefix("@") for entry in value]
        return ", ".join(name.rpartition(".")[2] for name in names)
    if isinstance(value, list) and value and isinstance(value[0], list):
        return " ".join("x".join(map(str, step)) for step in value)
    if isinstance(value, list):
        return " ".join(f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in value) or "none"
    return (
        {None: "as stored", True: "yes", False: "no"}.get(value, str(value))
        if value is None or isinstance(value, bool)
        else str(value)
    )


def _row(cells: tuple[str, str, str], widths: tuple[int, int, int]) -> Iterator[str]:
    wrapped = [textwrap.wrap(cell, size) or [""] for cell, size in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped))):
        parts = [lines[number] if number < len(lines) else "" for lines in wrapped]
        yield "  ".join(f"{part:<{size}}" for part, size in zip(parts, widths, strict=True)).rstrip()
