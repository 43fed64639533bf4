import pandas as pd
import pytest

from medssl.data import read_split
from medssl.metrics.table import SCORE_COLUMNS
from medssl.protocol.analysis.published import CITYSCAPES_COUNTS, COLUMNS, PAPERS, published_figures

VOLUMES = ["la", "pancreas_ct", "brats2019"]


@pytest.fixture(scope="module")
def figures():
    return published_figures()


def of(figures, dataset="la", labeled=8):
    return figures[figures["dataset"].eq(dataset) & figures["labeled"].eq(labeled)]


def test_every_figure_has_a_known_place_and_says_what_it_is(figures):
    assert tuple(figures.columns) == COLUMNS
    assert set(figures["paper"]) == set(PAPERS)
    assert set(figures["checkpoint"]) == {"best", "last", "last/best", ""}
    assert set(figures["statistic"]) == {"median", "maximum", "minimum", "mean", "std", "delta", "value"}
    assert not (figures[["paper", "table", "dataset", "method", "metric", "printed"]] == "").any().any()
    placed = figures[figures["dataset"].isin(VOLUMES)].dropna(subset="labeled")
    assert set(placed["metric"]) <= set(SCORE_COLUMNS)
    for (dataset, labeled), _ in placed.groupby(["dataset", "labeled"]):
        split = read_split(dataset)
        assert labeled in {*split.labeled_counts.values(), len(split.training)}


def test_values_are_on_the_scale_of_own_scores(figures):
    shares = figures["metric"].isin(["dice", "jaccard", "miou", "ece", "rss_landgraf2025", "Recall"])
    deltas = shares & figures["statistic"].eq("delta")
    assert set(figures.loc[shares, "unit"]) == {""}
    assert figures.loc[shares & ~deltas, "value"].between(0, 1).all()
    assert figures.loc[deltas, "value"].between(-1, 1).all()
    assert set(figures.loc[figures["metric"].isin(["hausdorff95", "asd"]), "unit"]) == {"voxel"}
    # 79.2% in one paper and 0.736 in another are on one scale.
    miou = figures[figures["metric"].eq("miou") & figures["statistic"].eq("value")]
    assert miou.groupby("paper")["value"].median().between(0.5, 0.9).all()


def test_the_printed_distances_on_la_are_in_voxels(figures):
    """Their head says mm; those of MC-Net+ are the ones of its authors' result files, in voxels."""
    for labeled in (8, 16):
        distances = of(figures, "la", labeled)
        distances = distances[
            distances["method"].eq("MC-Net+") & distances["metric"].isin(["hausdorff95", "asd"])
        ]
        printed = distances.groupby(["paper", "metric"])["printed"].agg(set).unstack("paper")
        assert len(printed) == 2
        assert printed["mcnet"].equals(printed["tcseg"].rename("mcnet"))


def test_the_papers_table_1(figures):
    chosen = figures[figures["method"].eq("TCSeg") & figures["table"].eq("Table 1")]
    for statistic, checkpoint, expected in (
        ("median", "last", ["90.28", "90.83", "81.08", "83.44", "85.27", "86.47"]),
        ("maximum", "last", ["90.39", "91.36", "81.20", "84.14", "86.52", "86.68"]),
        ("median", "best", ["90.73", "91.44", "82.22", "83.94", "85.27", "86.47"]),
    ):
        printed = chosen[chosen["statistic"].eq(statistic) & chosen["checkpoint"].eq(checkpoint)]
        printed = printed.set_index(["dataset", "labeled"])["printed"]
        places = [("la", 8), ("la", 16), ("pancreas_ct", 6), ("pancreas_ct", 12)]
        places += [("brats2019", 25), ("brats2019", 50)]
        assert [printed[place] for place in places] == expected


def test_several_tables_of_a_paper_print_one_number_for_one_thing(figures):
    """Which is why a row may merge them."""
    comparable = figures[figures["dataset"].isin(VOLUMES) & figures["labeled"].notna()]
    identity = [
        "paper",
        "dataset",
        "labeled",
        "method",
        "variant",
        "backbone",
        "split",
        "statistic",
        "metric",
    ]
    for checkpoint in ("last", "best", ""):
        coincide = ["last/best"] if checkpoint else []
        chosen = comparable[comparable["checkpoint"].isin([checkpoint, *coincide])]
        assert (chosen.groupby(identity)["value"].nunique() == 1).all()


def test_what_is_only_remembered_is_left_out_unless_asked_for(figures):
    more = published_figures(remembered=True)
    remembered = more[more["paper"] == ""]
    assert len(remembered) == len(more) - len(figures) == 9
    assert remembered["note"].str.startswith("from memory").all()
    assert set(remembered["checkpoint"]) == {""}
    pd.testing.assert_frame_equal(more.iloc[: len(figures)], figures)


@pytest.mark.parametrize(
    ("paper", "dataset", "labeled", "methods"),
    [
        ("agscore", "voc", 92, {"FixMatch", "FixMatch+AgScore", "UniMatch+AgScore", "RankMatch+AgScore"}),
        ("agscore", "voc", 662, {"UniMatch", "UniMatch+AgScore"}),
        ("agscore", "cityscapes", 186, {"FixMatch+AgScore", "UniMatch+AgScore"}),
        ("rss", "voc", 183, {"Supervised", "UniMatchV1", "UniMatchV2"}),
        ("rss", "cityscapes", 100, {"Supervised", "UniMatchV1", "UniMatchV2"}),
        ("rss", "cityscapes", 186, {"Supervised", "UniMatchV1", "UniMatchV2"}),
    ],
)
def test_rows_of_image_papers_are_found_by_data_set_and_labelled_count(
    figures, paper, dataset, labeled, methods
):
    chosen = of(figures, dataset, labeled)
    assert methods <= set(chosen.loc[chosen["paper"].eq(paper), "method"])


def test_counts_of_cityscapes_are_those_of_its_lists():
    lists = read_split("cityscapes").partitions
    assert {name.replace("_", "/"): len(cases) for name, cases in lists.items()} == CITYSCAPES_COUNTS


def test_fractions_of_cityscapes_are_the_counts_that_another_paper_prints(figures):
    cityscapes = figures[figures["dataset"].eq("cityscapes") & figures["table"].str.startswith("Table")]
    printed = cityscapes[cityscapes["paper"].eq("agscore")]
    counts = dict(zip(printed["setting"].str.split().str[0], printed["labeled"], strict=True))
    filled = cityscapes[cityscapes["paper"].eq("rss")]
    assert filled["labeled"].notna().all()
    filled = filled[filled["setting"].isin(counts)]
    assert len(set(filled["setting"])) == 4
    assert (filled["labeled"] == filled["setting"].map(counts)).all()
