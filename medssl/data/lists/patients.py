"""Which patient a case is of, from a table or from the cases' names."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from medssl.common.errors import InputError
from medssl.data.lists.layout import name_some

BIDS = r"^(sub-[0-9A-Za-z]+)(?:_|$)"
"""Names of the Brain Imaging Data Structure say the patient: ``sub-01_ses-2_T1w``."""


def patients_of(
    cases: Sequence[str], *, table: str | Path | None = None, pattern: str | None = None
) -> dict[str, str] | None:
    """The patient of every case.

    Args:
        cases: names of the cases.
        table: CSV file with the columns ``case`` and ``patient``; rows of other cases are passed over.
        pattern: regular expression, searched in every case name; its first group, or all that it matches
            where it has none, is the patient.

    Returns:
        Patient by case. Without table and pattern, BIDS names (``sub-01_...``) say the patient where all
        cases bear one; None where they do not: then each case is taken for a patient of its own.

    Raises:
        InputError: table and pattern together, a table without these columns or with two patients for one
            case, an expression that is none, or a case that they say nothing of.
    """
    if table is not None and pattern is not None:
        raise InputError("groups", "given as a table and as a pattern", "give one of them")
    if table is not None:
        by_case = _read(Path(table))
        where, remedy = str(table), "add a row for each"
    else:
        by_case = _match(cases, BIDS if pattern is None else pattern)
        if pattern is None:
            return by_case if len(by_case) == len(cases) else None
        where, remedy = f"group pattern {pattern!r}", "write one that matches every case"
    without = [case for case in cases if case not in by_case]
    if without:
        raise InputError(where, f"says nothing of {len(without)} cases ({name_some(without)})", remedy)
    return {case: by_case[case] for case in cases}


def _match(cases: Sequence[str], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"group pattern {pattern!r}", f"is no regular expression ({error})", "correct it"
        ) from error
    by_case = {}
    for case in cases:
        match = expression.search(case)
        patient = match and (match.group(1) if expression.groups else match.group())
        if patient:
            by_case[case] = patient
    return by_case


def _read(path: Path) -> dict[str, str]:
    try:
        # Spreadsheets write a byte-order mark, which would become part of the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"case", "patient"} <= set(rows.fieldnames or ()):
                raise InputError(path, "has no columns 'case' and 'patient'", "add them as its first row")
            pairs = [((row["case"] or "").strip(), (row["patient"] or "").strip()) for row in rows]
    except FileNotFoundError as error:
        raise InputError(path, "no such file", "name the CSV file with the columns case,patient") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"cannot be read ({error})", "see that it is a CSV file in UTF-8") from error
    by_case: dict[str, str] = {}
    for number, (case, patient) in enumerate(pairs, start=2):
        if not case or not patient:
            raise InputError(f"{path}: row {number}", "has an empty cell", "fill in case and patient")
        if by_case.setdefault(case, patient) != patient:
            raise InputError(
                path, f"gives case {case!r} two patients ({by_case[case]} and {patient})", "keep one of them"
            )
    return by_case
