"""Figures that others published, to stand beside own ones."""

from pathlib import Path

import pandas as pd

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
CITYSCAPES_COUNTS = {"1/30": 100, "1/16": 186, "1/8": 372, "1/4": 744, "1/2": 1488}
"""Lengths of the published lists (``data_splits/cityscapes.json``); the RSS paper prints fractions alone."""
_DATASETS = {
    "LA": "la",
    "Pancreas-CT": "pancreas_ct",
    "BraTS2019": "brats2019",
    "Pascal VOC 2012": "voc",
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


def published_figures(*, remembered: bool = False) -> pd.DataFrame:
    """Every number of the tables in ``published_tables``, one a row, in the terms of own results.

    Args:
        remembered: also those that are quoted from memory, whose ``paper`` is empty.

    Returns:
        :data:`COLUMNS`. ``dataset`` is the name of the data set's overlay in a bundle where there is one;
        ``labeled`` is missing where the source does not say it; for a fraction of Cityscapes, which is all
        that the RSS paper prints, it is the length of the published list. ``checkpoint`` is "best", "last",
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
    counts = table["setting"].map(CITYSCAPES_COUNTS)
    fraction_only = table["dataset"].eq("cityscapes") & table["labeled"].isna() & counts.notna()
    table.loc[fraction_only, "labeled"] = counts[fraction_only].astype("Int64")
    return table


def read_printed(name: str) -> pd.DataFrame:
    """One file of ``published_tables`` as it stands there, all of it text.

    Args:
        name: of :data:`PAPERS`, or "remembered".
    """
    table = pd.read_csv(_TABLES / f"{name}.csv", dtype=str, keep_default_na=False, encoding="utf-8")
    return table[list(COLUMNS)]
