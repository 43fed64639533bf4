import pandas as pd

from medssl.data import read_split
from medssl.protocol.published import PUBLISHED, published_figures
from medssl.protocol.store import ALL_METRICS


def test_every_row_has_a_source_with_its_standing_and_a_known_place():
    table = published_figures()
    assert tuple(table.columns) == PUBLISHED
    assert table["source"].str.contains(r"\[(?:V|M|not verified)\]$").all()
    assert set(table["metric"]) <= set(ALL_METRICS)
    assert set(table["checkpoint"]) == {"best", "last", ""}
    assert set(table["statistic"]) == {"median", "maximum", "mean", "std", "reported"}
    for (dataset, labeled), _ in table.groupby(["dataset", "labeled"]):
        split = read_split(dataset)
        assert labeled in {*split.labeled_counts.values(), len(split.training)}
    key = ["dataset", "labeled", "method", "checkpoint", "statistic", "metric", "source"]
    assert not table.duplicated(key).any()


def test_values_are_on_the_scale_of_own_scores():
    table = published_figures()
    overlap = table["metric"].isin(["dice", "jaccard"])
    assert table.loc[overlap, "value"].between(0, 1).all()
    assert set(table.loc[overlap, "unit"]) == {""}
    assert set(table.loc[~overlap, "unit"]) == {"voxel"}


def test_the_papers_table_1():
    table = published_figures()
    chosen = table[(table["method"] == "TCSeg") & (table["statistic"] == "median")]
    found = {(r.dataset, r.labeled, r.checkpoint): r.printed for r in chosen.itertuples()}
    assert found == {
        ("la", 8, "last"): "90.28",
        ("la", 16, "last"): "90.83",
        ("pancreas_ct", 6, "last"): "81.08",
        ("pancreas_ct", 12, "last"): "83.44",
        ("brats2019", 25, "last"): "85.27",
        ("brats2019", 50, "last"): "86.47",
        ("la", 8, "best"): "90.73",
        ("la", 16, "best"): "91.44",
        ("pancreas_ct", 6, "best"): "82.22",
        ("pancreas_ct", 12, "best"): "83.94",
    }
    assert pd.to_numeric(chosen["printed"]).div(100).tolist() == chosen["value"].tolist()
