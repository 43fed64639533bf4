"""Scores of several runs side by side: ``python scripts/compare_runs.py RUN [RUN ...]``.

Reads ``run.json``, ``cases_best.csv`` and ``cases_last.csv`` of every run; prints a row per run (mean over
cases), and the median and the best over the runs of a method.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.engines import RunFolder

COLUMNS = ("dice", "hausdorff95", "asd", "assd")


def read(runs: list[Path]) -> pd.DataFrame:
    """One row per run and checkpoint, with means over cases."""
    rows = []
    for run in runs:
        record = RunFolder(run).read()
        for checkpoint in ("best", "last"):
            path = run / f"cases_{checkpoint}.csv"
            if path.is_file():
                means = pd.read_csv(path)[list(COLUMNS)].mean()
                row: dict[str, Any] = {name: record[name] for name in ("method", "seed", "selection")}
                rows.append({**row, "checkpoint": checkpoint, **{c: float(means[c]) for c in COLUMNS}})
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="scores of several runs side by side")
    parser.add_argument("runs", nargs="+", type=Path)
    table = read(parser.parse_args().runs)
    print("| method | checkpoint | seed | Dice | 95HD (mm) | ASD (mm) | ASSD (mm) |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (method, checkpoint), group in table.groupby(["method", "checkpoint"]):
        for row in group.sort_values("seed").itertuples():
            print(f"| {method} | {checkpoint} | {row.seed} | {row.dice:.3f} | {row.hausdorff95:.2f} | "
                  f"{row.asd:.2f} | {row.assd:.2f} |")  # fmt: skip
        for name, pick in (("median", statistics.median), ("best seed", None)):
            values = []
            for column in COLUMNS:
                numbers = [float(v) for v in group[column]]
                chosen = pick(numbers) if pick else (max if column == "dice" else min)(numbers)
                values.append(f"{chosen:.3f}" if column == "dice" else f"{chosen:.2f}")
            print(f"| {method} | {checkpoint} | **{name}** | " + " | ".join(values) + " |")
    print(f"\nbest.pt chosen by: {', '.join(sorted(set(table['selection'])))}")


if __name__ == "__main__":
    main()
