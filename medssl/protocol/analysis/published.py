"""Figures that others published, to stand beside own ones."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medssl.protocol.report.text_tables import Row, records
from medssl.reports.figure_style import TITLES

PAPERS = {
    "tcseg": "TCSeg paper",
    "agscore": "AgScore paper",
    "conformalsam": "ConformalSAM paper",
    "rss": "RSS paper",
    "mcnet": "MC-Net repository",
}
"""Who printed a figure, by ``paper``, which is also the name of its file."""

COLUMNS = (
    "paper",
    "table",
    "dataset",
    "split",
    "labeled",
    "setting",
    "method",
    "backbone",
    "variant",
    "checkpoint",
    "statistic",
    "metric",
    "value",
    "unit",
    "printed",
    "note",
)
"""Columns of the files and of :func:`published_figures`."""

_TABLES = Path(__file__).parent / "published_tables"
_DATASETS = {
    "LA": "la",
    "Pancreas-CT": "pancreas_ct",
    "BraTS2019": "brats2019",
    "Pascal VOC 2012": "pascal_voc",
    "Cityscapes": "cityscapes",
    "ADE20K": "ade20k",
    "COCO": "coco",
}
_METRICS = {"DSC": "dice", "Jaccard": "jaccard", "95HD": "hausdorff95", "ASD": "asd", "mIoU": "miou"}
# The protocol that the printed values of the RSS paper imply; own columns without the ending follow another.
_METRICS |= {
    "ECE": "ece",
    "RSS": "rss_landgraf2025",
    "p_acc_cer": "p_acc_cer_landgraf2025",
    "p_unc_inacc": "p_unc_inacc_landgraf2025",
}
_STATISTICS = {"max": "maximum", "min": "minimum"}
_SHOWN = {
    ("median", "maximum"): "median / maximum",
    ("mean", "std"): "mean / std",
    ("value",): "statistic not stated",
}


def published_figures(*, remembered: bool = False) -> pd.DataFrame:
    """Every number of the tables in ``published_tables``, one a row, in the terms of own results.

    Args:
        remembered: also those that are quoted from memory, whose ``paper`` is empty.

    Returns:
        :data:`COLUMNS`. ``dataset`` is a name of :func:`medssl.data.read_split` where there is one;
        ``labeled`` is missing where the source does not say it. ``checkpoint`` is "best", "last",
        "last/best" (the source says that both coincide) or, where it is not stated, empty. ``statistic`` is
        "median", "maximum", "minimum", "mean", "std", "delta" (a printed difference) or, where it is not
        stated what over the runs a number is, "value". ``value`` is on the scale of own scores: shares and
        their differences in [-1, 1] with an empty ``unit``; anything else in ``unit``. ``printed`` is the
        number as its source prints it.
    """
    names = [*PAPERS, "remembered"] if remembered else list(PAPERS)
    table = pd.concat([read_printed(name) for name in names], ignore_index=True)
    unstated = table[["split", "backbone", "checkpoint"]].replace("-", "")
    table[["split", "backbone", "checkpoint"]] = unstated
    # Printed as mm, these distances are in voxels: on LA, of 0.625 mm, those of MC-Net+ are the ones that its
    # authors give in voxels. Pancreas-CT and BraTS are resampled to 1 mm, where the two are the same.
    table["unit"] = table["unit"].replace("mm", "voxel")
    table["value"] = table["value"].astype(float) / table["unit"].isin(["%", "pp"]).map({True: 100, False: 1})
    table["unit"] = table["unit"].replace({"%": "", "pp": "", "fraction": ""})
    table["dataset"] = table["dataset"].replace(_DATASETS)
    table["metric"] = table["metric"].replace(_METRICS)
    table["statistic"] = table["statistic"].replace(_STATISTICS)
    table["labeled"] = pd.to_numeric(table["labeled"]).astype("Int64")
    return table


def read_printed(name: str) -> pd.DataFrame:
    """One file of medssl/protocol/analysis/published_tables as it stands there, all of it text.

    Args:
        name: of :data:`PAPERS`, or "remembered".
    """
    table = pd.read_csv(_TABLES / f"{name}.csv", dtype=str, keep_default_na=False, encoding="utf-8")
    return table[list(COLUMNS)]


def published_rows(figures: pd.DataFrame, *, checkpoint: str, metrics: Sequence[str], unit: str) -> list[Row]:
    """Rows of a table, as printed, each with its source and the statistic that it shows.

    What a source prints in several of its tables is one row that names them all. Distances stand only where
    the own ones have their unit.

    Args:
        figures: of :func:`published_figures`, of one data set and labelled count.
        checkpoint: "best", "last" or, for figures whose checkpoint is not stated, empty.
        metrics: columns.
        unit: of the own distances.
    """
    shown = figures["metric"].isin(metrics) & figures["unit"].isin(["", unit])
    coincide = ["last/best"] if checkpoint else []
    usable = figures[shown & figures["checkpoint"].isin([checkpoint, *coincide])]
    rows = []
    identity = ["paper", "method", "variant", "backbone", "split"]
    for (paper, method, variant, backbone, split), group in usable.groupby(identity, sort=False):
        for statistics, title in _SHOWN.items():
            chosen = group[group["statistic"].isin(statistics)]
            if chosen.empty:
                continue
            source = ", ".join(
                [PAPERS.get(str(paper), "from memory"), *filter(None, chosen["table"].unique())]
            )
            remark = "; ".join(filter(None, [source, str(split), str(backbone), title]))
            name = f"{method} {variant}".strip()
            cells = _cells(chosen, metrics, statistics)
            rows.append(Row(name, remark, cells, {}, published=True, notes=_notes(chosen, metrics)))
    return rows


def _cells(chosen: pd.DataFrame, metrics: Sequence[str], statistics: Sequence[str]) -> dict[str, str]:
    """The printed numbers by metric, an en dash where one of two is not printed."""
    printed = {(row["metric"], row["statistic"]): str(row["printed"]) for row in records(chosen)}
    return {
        metric: " / ".join(printed.get((metric, statistic), "\N{EN DASH}") for statistic in statistics)
        for metric in metrics
        if any((metric, statistic) in printed for statistic in statistics)
    }


def _notes(chosen: pd.DataFrame, metrics: Sequence[str]) -> tuple[str, ...]:
    """Every note once; one that does not hold for the whole row begins with the columns that it is about."""
    columns: dict[str, set[str]] = {}
    for row in records(chosen):
        for note in filter(None, str(row["note"]).split("; ")):
            columns.setdefault(note, set()).add(row["metric"])
    every = set(chosen["metric"])
    return tuple(
        note
        if about == every
        else ", ".join(TITLES.get(metric, metric) for metric in metrics if metric in about) + f": {note}"
        for note, about in columns.items()
    )
