"""A datalist at a glance."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from medssl.data.checks.volumes import SIZE_UNITS
from medssl.data.lists.datalist import LISTS


def datalist_text(datalist: Mapping[str, Any]) -> str:
    """A table of the lists (cases, patients, median and range of label sizes) and how they were chosen."""
    rows = _rows(datalist)
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    lines = [
        "  ".join(f"{row[name]:<{width}}" for name, width in widths.items()).rstrip()
        for row in ({name: name for name in widths}, *rows)
    ]
    hidden = len(datalist["hidden_labels"])
    if hidden:
        lines.append(f"{hidden} unlabelled cases have a label: hidden_labels, never trained on")
    return "\n".join([*lines, datalist["selection"]])


def _rows(datalist: Mapping[str, Any]) -> list[dict[str, str]]:
    patients: dict[str, str] = datalist.get("patients", {})
    rows = []
    for name in LISTS:
        cases = [item["case"] for item in datalist[name]]
        row = {"list": name, "cases": str(len(cases))}
        if patients:
            row["patients"] = str(len({patients[case] for case in cases}))
        for unit in SIZE_UNITS.values():
            if label_sizes := datalist.get(f"label_{unit}"):
                sizes = sorted(label_sizes[case] for case in cases if case in label_sizes)
                row[f"label {unit}: median (range)"] = (
                    f"{median(sizes):.4g} ({sizes[0]:.4g} - {sizes[-1]:.4g})" if sizes else "-"
                )
        rows.append(row)
    return rows
