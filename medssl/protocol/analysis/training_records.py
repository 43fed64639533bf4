"""What runs wrote down while they trained: validation curves, and the quality of their pseudo-labels."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from medssl.common.run_folder import PSEUDO_LABEL_COLUMNS
from medssl.metrics.table import METRICS

CURVES = tuple(f"val_{metric.name}" for metric in METRICS)
"""What a validation may log of the metrics."""


def read_curves(logs: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """Validation lines of logs: columns method, run, step and :data:`CURVES` (NaN where there is none).

    Args:
        logs: ``log.jsonl`` files by setting; what is missing is left out.
    """
    rows = []
    for name, paths in logs.items():
        for run, path in enumerate(paths):
            for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
                entry = json.loads(line)
                if entry["event"] == "validation":
                    logged = {key: entry.get(key) for key in CURVES}
                    rows.append({"method": name, "run": run, "step": entry["step"], **logged})
    table = pd.DataFrame(rows, columns=["method", "run", "step", *CURVES])
    return table.astype(dict.fromkeys(CURVES, float))


def read_pseudo_labels(files: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """``pseudo_labels.csv`` of runs in one table, with the columns method and run before its own.

    Args:
        files: paths by setting; what is missing is left out.
    """
    parts = []
    for name, paths in files.items():
        for run, path in enumerate(paths):
            if path.is_file():
                part = pd.read_csv(path, dtype={"class": str, "selector": str}, encoding="utf-8")
                part.insert(0, "run", run)
                part.insert(0, "method", name)
                parts.append(part)
    if not parts:
        return pd.DataFrame(columns=["method", "run", *PSEUDO_LABEL_COLUMNS])
    return pd.concat(parts, ignore_index=True)


def own_selection(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the methods' own selectors: in every file, the first one that is named."""
    first = table.groupby(["method", "run"])["selector"].transform("first")
    return table[(table["selector"] == first) & ~table["selector"].str.startswith("confidence")]
