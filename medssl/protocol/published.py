"""Figures that others published, to stand beside own ones."""

from pathlib import Path

import pandas as pd

PUBLISHED = (
    "dataset",
    "labeled",
    "method",
    "checkpoint",
    "statistic",
    "metric",
    "value",
    "printed",
    "unit",
    "source",
    "note",
)
"""Columns of :func:`published_figures`."""

_TABLES = Path(__file__).parent / "tables"


def published_figures() -> pd.DataFrame:
    """Published statistics of the methods, one a row (medssl/protocol/tables/README.md).

    Returns:
        :data:`PUBLISHED`. ``value`` is on the scale of own scores, so Dice and Jaccard are in [0, 1], where
        ``unit`` is empty; it is "voxel" for distances. ``printed`` is the number as its source prints it.
        ``checkpoint`` is "best", "last" or, where it is not known, empty; ``statistic`` is "median",
        "maximum", "mean", "std" or, where it is not known, "reported".
    """
    table = pd.read_csv(_TABLES / "published.csv", dtype=str, keep_default_na=False, encoding="utf-8")
    table["labeled"] = table["labeled"].astype(int)
    table["printed"] = table["value"]
    percent = table["unit"] == "percent"
    table["value"] = table["value"].astype(float) / percent.map({True: 100.0, False: 1.0})
    table.loc[percent, "unit"] = ""
    return table[list(PUBLISHED)]
