"""The result of a check as text and as plain JSON values."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medssl.data.checks.findings import Finding
from medssl.data.checks.run import CheckResult
from medssl.data.checks.volumes import SIZE_UNITS
from medssl.data.lists.layout import name_some

WIDTH = 160
"""Columns of the table where the output is no terminal."""

AT_MOST = 5
"""Findings of one kind that the table says in full; of the rest it names the cases."""


def check_record(datalist: str | Path, result: CheckResult) -> dict[str, Any]:
    """What ``medssl check --json`` prints: findings, statistics, and what is known of every case.

    Args:
        datalist: the file that was checked.
        result: of :func:`medssl.data.checks.run.check_datalist`.
    """
    cases = []
    for case in result.cases:
        facts: dict[str, Any] = {"case": case.case, "list": case.split}
        if case.scan is not None:
            facts |= {
                "image": case.scan.file,
                "size": case.scan.size,
                "channels": case.scan.channels,
                "spacing_mm": case.scan.spacing,
                "content_sha256": case.scan.content,
                f"class_{SIZE_UNITS[len(case.scan.size)]}": case.scan.class_sizes,
            }
        cases.append(facts)
    findings = []
    for finding in result.findings:
        facts = {"severity": finding.severity, **asdict(finding)}
        facts["list"] = facts.pop("split")
        findings.append(facts)
    return {
        "datalist": str(datalist),
        "errors": result.count("error"),
        "warnings": result.count("warning"),
        "notes": result.count("note"),
        "findings": findings,
        "statistics": result.statistics,
        "cases": cases,
    }


def check_text(result: CheckResult) -> str:
    """Findings, statistics and a closing count, as wide as the terminal."""
    parts = ["\n".join(_findings(result.findings)) + "\n"] if result.findings else []
    parts += _statistics(result.statistics)
    errors, warnings, notes = (result.count(severity) for severity in ("error", "warning", "note"))
    counts = f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}"
    counts += f", {_counted(notes, 'note')}" if notes else ""
    return "\n".join([*parts, f"{len(result.cases)} cases: {counts}"])


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    width = max(shutil.get_terminal_size((WIDTH, 24)).columns, 80)
    longest = max([4, *(len(finding.case) for finding in findings)])
    columns = [8, min(longest, width // 5)]
    columns += [(width - sum(columns) - 6) * 3 // 5, (width - sum(columns) - 6) * 2 // 5]
    yield from _wrapped(("severity", "case", "fault", "remedy"), columns)
    yield from _wrapped(tuple("-" * column for column in columns), columns)
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.code, []).append(finding)
    for kind in kinds.values():
        for finding in kind[:AT_MOST]:
            where = _where(finding)
            fault = f"{where}: {finding.fault}" if where else finding.fault
            yield from _wrapped((finding.severity, finding.case or "-", fault, finding.remedy), columns)
        if unsaid := kind[AT_MOST:]:
            others = list(dict.fromkeys(finding.case or finding.where for finding in unsaid))
            named = len(others) if kind[0].severity == "error" else 2 * AT_MOST
            fault = f"{len(unsaid)} more of this kind ({kind[0].code}): {name_some(others, at_most=named)}"
            yield from _wrapped((kind[0].severity, "...", fault, "--json says each in full"), columns)


def _where(finding: Finding) -> str:
    """The file with its folder, or what else the fault is of; empty where the column of cases says it."""
    if finding.where == f"case {finding.case!r}":
        return ""
    if finding.where.startswith(("case ", "list ", "patient ")) or finding.code == "entry":
        return finding.where
    return "/".join(Path(finding.where).parts[-2:])


def _wrapped(cells: Sequence[str], columns: Sequence[int]) -> Iterator[str]:
    """The lines of one row, each cell wrapped to the width of its column."""
    wrapped = [textwrap.wrap(cell, column) or [""] for cell, column in zip(cells, columns, strict=True)]
    for line in range(max(map(len, wrapped))):
        parts = [lines[line] if line < len(lines) else "" for lines in wrapped]
        yield "  ".join(f"{part:<{column}}" for part, column in zip(parts, columns, strict=True)).rstrip()


def _statistics(statistics: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A table of the images and one of the classes of every list, each with an empty line behind it."""
    volumes = any("spacing_mm" in facts for facts in statistics.values())
    # A 2D image says nothing of a spacing.
    measures = (
        {"spacing_mm": "spacing (mm)", "size": "size (voxels)"} if volumes else {"size": "size (pixels)"}
    )
    rows: list[tuple[str, ...]] = [("list", "cases", *measures.values(), "mean intensity", "intensities")]
    for name, facts in statistics.items():
        unread = f" ({facts['unreadable']} unreadable)" if facts["unreadable"] else ""
        cells = [name, f"{facts['cases']}{unread}"]
        for key in measures:
            cells.append(" x ".join(_range(axis) for axis in facts.get(key, [])))
        intensity = facts.get("intensity")
        cells.append(_range(intensity["mean"]) if intensity else "")
        cells.append(
            f"{intensity['minimum']['min']:.4g} to {intensity['maximum']['max']:.4g}" if intensity else ""
        )
        rows.append(tuple(cells))
    yield from _table(rows)
    for unit in SIZE_UNITS.values():
        rows = [("list", "class", "shown in", f"size ({unit}): min", "median", "max")]
        for name, facts in statistics.items():
            for number, sizes in facts.get(f"class_{unit}", {}).items():
                shown = f"{sizes['cases']} of {facts['labels']}"
                spread = (f"{sizes[key]:.4g}" for key in ("min", "median", "max"))
                rows.append((name, f"{number} {sizes['name']}", shown, *spread))
        yield from _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns as wide as their longest cell; nothing where there is a heading alone."""
    if len(rows) > 1:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        yield ""


def _range(spread: Mapping[str, float]) -> str:
    low, high = f"{spread['min']:.4g}", f"{spread['max']:.4g}"
    return low if low == high else f"{low}..{high}"
