"""The list that a reviewer works through: worst cases first, with blank columns to fill in."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError
from medssl.common.files import write_csv
from medssl.review.kinds import KINDS

REVIEWER = ("reviewer", "decision", "minutes", "comment")
"""Columns that a reviewer fills in; they are kept when the list is written anew."""


def read_side_cars(folder: str | Path) -> list[dict[str, Any]]:
    """Every case of a review folder, as its JSON says.

    Raises:
        InputError: the folder is missing, holds no case, or a file is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "give the folder that `medssl predict` wrote")
    side_cars = []
    for path in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(path, "cannot be read as JSON", "predict that case again") from error
        if isinstance(content, dict) and content.get("kind") == "medssl review":
            side_cars.append(content)
    if not side_cars:
        raise InputError(folder, "holds no reviewed case", "give the folder that `medssl predict` wrote")
    return side_cars


def worklist_rows(
    side_cars: Sequence[Mapping[str, Any]], failed: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """One row a case, sorted by priority; what could not be predicted comes first.

    Args:
        side_cars: of :func:`read_side_cars`.
        failed: case name and message of scans that were not predicted.
    """
    rows: list[dict[str, Any]] = []
    for side_car in side_cars:
        measured = side_car["statistics"]
        row: dict[str, Any] = {"case": side_car["case"], "priority": measured["priority"]}
        row |= {k: measured[k] for k in ("boundary_uncertainty", "mean_uncertainty", "confident_disagreeing")}
        row |= KINDS[len(side_car["shape"])].columns(measured)
        rows.append(row | {"status": "predicted"})
    rows.sort(key=lambda row: (-row["priority"], row["case"]))
    unpredicted = [
        {"case": case, "status": f"failed: {message}"} for case, message in sorted((failed or {}).items())
    ]
    return [{"rank": rank, **row} for rank, row in enumerate([*unpredicted, *rows], 1)]


def write_worklist(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``worklist.csv``; what a reviewer filled into an earlier one is kept.

    Raises:
        InputError: the earlier list cannot be read.
    """
    path = Path(path)
    filled = {row["case"]: row for row in read_worklist(path)} if path.exists() else {}
    # The longest row names all columns: those of failed cases are fewer.
    columns: Mapping[str, Any] = max(rows, key=len, default={})
    lines = []
    for row in rows:
        kept = filled.get(str(row["case"]), {})
        values = {column: _text(value) for column, value in row.items()}
        lines.append(values | {column: kept.get(column) or "" for column in REVIEWER})
    write_csv(path, lines, columns=[*columns, *REVIEWER])


def read_worklist(path: str | Path) -> list[dict[str, str]]:
    """The rows of a worklist.

    Raises:
        InputError: missing, not a worklist, or not text.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise InputError(path, "no such file", "give the folder that `medssl predict` wrote") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"cannot be read ({error})", "save it as CSV in UTF-8") from error
    if rows and "case" not in rows[0]:
        raise InputError(path, "has no column 'case'", "save it with commas and its header line")
    return rows


def _text(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    return "" if value is None else value
