"""``medssl check``: what is wrong with a data set, before the long run."""

import argparse
import io
import json
import logging
import shutil
import sys
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medssl.data.checks.findings import Finding
    from medssl.data.checks.run import CheckResult

WIDTH = 160
"""Columns of the table where the output is no terminal."""

AT_MOST = 5
"""Findings of one kind that the table says in full; of the rest it names the cases."""


def add_check(commands: Any) -> None:
    """``medssl check``: open every case of a datalist and say all that is wrong."""
    parser = commands.add_parser(
        "check",
        help="open every case of a datalist and say all that is wrong",
        description="Open every case of a datalist and say all that is wrong, in one pass. "
        "Exit status: 0 without errors, 1 with errors, 2 if the datalist itself cannot be read.",
    )
    parser.add_argument("datalist", help="the datalist (JSON)")
    parser.add_argument("--base-dir", metavar="DIR", help="where relative names start (default: its folder)")
    parser.add_argument(
        "--roi", type=int, nargs=3, metavar="N", help="patch in voxels; smaller volumes are warned of"
    )
    parser.add_argument(
        "--classes", type=int, metavar="K", help="number of classes with background (default: the datalist's)"
    )
    parser.add_argument(
        "--allow-absent-classes",
        action="store_true",
        help="only warn of a class that no labelled case shows",
    )
    parser.add_argument(
        "--h5-spacing", type=float, nargs=3, metavar="MM", help="voxel size of HDF5 files (default 1 1 1)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="cases opened at a time (default 1)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--report", metavar="DIR", help="write a contact sheet, histograms and check.json")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Said better by the findings, or of no use to a reader of the table.
    warnings.filterwarnings("ignore", module="monai")
    for name in ("nibabel.global", "pydicom", "monai"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    import SimpleITK as sitk

    from medssl.data.checks.run import check_datalist

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may hold letters that the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    if arguments.report:
        from medssl.reports.dataset import prepare_report_folder

        prepare_report_folder(arguments.report)
    result = check_datalist(
        arguments.datalist,
        base_dir=arguments.base_dir,
        roi=arguments.roi,
        num_classes=arguments.classes,
        h5_spacing=arguments.h5_spacing or 1.0,
        allow_absent_classes=arguments.allow_absent_classes,
        jobs=arguments.jobs,
    )
    record = _record(arguments.datalist, result)
    if arguments.json:
        print(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _print_tables(result)
    if arguments.report:
        from medssl.common.files import write_text
        from medssl.reports.dataset import write_dataset_report

        written = write_dataset_report(arguments.report, result)
        facts = Path(arguments.report) / "check.json"
        write_text(facts, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        if not arguments.json:
            print("report: " + ", ".join(str(path) for path in (*written, facts)))
    return 1 if result.count("error") else 0


def _record(datalist: str, result: "CheckResult") -> dict[str, Any]:
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
                "class_ml": case.scan.class_ml,
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


def _print_tables(result: "CheckResult") -> None:
    if result.findings:
        _print_findings(result.findings)
        print()
    _print_statistics(result)
    counts = ", ".join(
        f"{number} {word}{'s' * (number != 1)}"
        for word, number in (("error", result.count("error")), ("warning", result.count("warning")))
    )
    notes = result.count("note")
    print(f"{len(result.cases)} cases: {counts}" + (f", {notes} note{'s' * (notes != 1)}" if notes else ""))


def _print_findings(findings: Sequence["Finding"]) -> None:
    from medssl.data.lists.layout import name_some

    width = max(shutil.get_terminal_size((WIDTH, 24)).columns, 80)
    longest = max([4, *(len(finding.case) for finding in findings)])
    columns = [8, min(longest, width // 5)]
    columns += [(width - sum(columns) - 6) * 3 // 5, (width - sum(columns) - 6) * 2 // 5]
    _print_row(("severity", "case", "fault", "remedy"), columns)
    _print_row(tuple("-" * column for column in columns), columns)
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.code, []).append(finding)
    for kind in kinds.values():
        for finding in kind[:AT_MOST]:
            where = _where(finding)
            fault = f"{where}: {finding.fault}" if where else finding.fault
            _print_row((finding.severity, finding.case or "-", fault, finding.remedy), columns)
        if rest := kind[AT_MOST:]:
            others = list(dict.fromkeys(finding.case or finding.where for finding in rest))
            named = len(others) if kind[0].severity == "error" else 2 * AT_MOST
            fault = f"{len(rest)} more of this kind ({kind[0].code}): {name_some(others, at_most=named)}"
            _print_row((kind[0].severity, "...", fault, "--json says each in full"), columns)


def _where(finding: "Finding") -> str:
    """The file with its folder, or what else the fault is of; empty where the column of cases says it."""
    if finding.where == f"case {finding.case!r}":
        return ""
    if finding.where.startswith(("case ", "list ", "patient ")) or finding.code == "entry":
        return finding.where
    return "/".join(Path(finding.where).parts[-2:])


def _print_row(cells: Sequence[str], columns: Sequence[int]) -> None:
    wrapped = [textwrap.wrap(cell, column) or [""] for cell, column in zip(cells, columns, strict=True)]
    for line in range(max(map(len, wrapped))):
        parts = [lines[line] if line < len(lines) else "" for lines in wrapped]
        print("  ".join(f"{part:<{column}}" for part, column in zip(parts, columns, strict=True)).rstrip())


def _print_statistics(result: "CheckResult") -> None:
    rows: list[tuple[str, ...]] = [
        ("list", "cases", "spacing (mm)", "size (voxels)", "mean intensity", "intensities")
    ]
    volumes: list[tuple[str, ...]] = [("list", "class", "shown in", "volume (ml): min", "median", "max")]
    for name, facts in result.statistics.items():
        unread = f" ({facts['unreadable']} unreadable)" if facts["unreadable"] else ""
        cells = [name, f"{facts['cases']}{unread}"]
        for key in ("spacing_mm", "size"):
            cells.append(" x ".join(_range(axis) for axis in facts.get(key, [])))
        intensity = facts.get("intensity")
        cells.append(_range(intensity["mean"]) if intensity else "")
        cells.append(
            f"{intensity['minimum']['min']:.4g} to {intensity['maximum']['max']:.4g}" if intensity else ""
        )
        rows.append(tuple(cells))
        for number, volume in facts.get("class_ml", {}).items():
            label = f"{number} {volume['name']}"
            shown = f"{volume['cases']} of {facts['labels']}"
            volumes.append((name, label, shown, *(f"{volume[key]:.4g}" for key in ("min", "median", "max"))))
    for table in (rows, volumes):
        if len(table) > 1:
            widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
            for row in table:
                print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
            print()


def _range(spread: dict[str, float]) -> str:
    low, high = f"{spread['min']:.4g}", f"{spread['max']:.4g}"
    return low if low == high else f"{low}..{high}"
