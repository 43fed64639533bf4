"""The printed tables themselves: complete, read rightly, and known to be wrong where they are."""

from decimal import Decimal
from itertools import product

import pandas as pd
import pytest

from medssl.evaluation.scan_robustness import CLEAN, robustness_rows
from medssl.metrics import reliable_segmentation_score
from medssl.metrics.uncertainty import reliable_segmentation_scores
from medssl.protocol.analysis.published import PAPERS, read_printed
from medssl.protocol.audit.feasibility import read_statistics
from medssl.reports.robustness import write_robustness
from tests.places import ROOT, SHARED

COUNTS = {"tcseg": 535, "agscore": 432, "conformalsam": 265, "rss": 660}
SOURCE = SHARED / "tables"
TABLES = ROOT / "medssl" / "protocol" / "analysis" / "published_tables"
CELL = ["table", "dataset", "split", "labeled", "setting", "method", "backbone", "variant", "checkpoint"]
CELL += ["statistic", "metric"]


def numbers(name):
    """A file with exact values."""
    table = read_printed(name)
    table["value"] = table["value"].map(Decimal)
    return table


def test_the_four_papers_are_there_in_full():
    assert {name: len(read_printed(name)) for name in COUNTS} == COUNTS
    assert sum(COUNTS.values()) == 1892


@pytest.mark.parametrize("name", [*PAPERS, "remembered"])
def test_every_cell_has_its_checkpoint_its_statistic_and_its_unit(name):
    table = numbers(name)
    assert set(table["paper"]) == ({""} if name == "remembered" else {name})
    assert set(table["checkpoint"]) <= {"best", "last", "last/best", "-"}
    assert set(table["statistic"]) <= {"value", "median", "max", "min", "mean", "std", "delta"}
    assert set(table["unit"]) <= {"%", "fraction", "pp", "mm", "voxel", "M", "G", "GB", "s/iter", "s/case"}
    assert [Decimal(text.strip("()")) for text in table["printed"]] == table["value"].tolist()
    assert not table.duplicated(CELL).any()


@pytest.mark.real("tables")
@pytest.mark.parametrize("name", COUNTS)
def test_every_cell_is_that_of_the_source(name):
    source = pd.read_csv(SOURCE / f"{name}.csv", dtype=str, keep_default_na=False, encoding="utf-8")
    table = read_printed(name)
    cells = [column for column in table.columns if column != "note"]
    pd.testing.assert_frame_equal(table[cells], source[cells])
    assert table["note"].str.contains("MISPRINT").equals(source["note"].str.contains("MISPRINT"))
    assert (table["note"].str.len() <= source["note"].str.len() + 6).all()


def test_every_printed_rss_follows_from_the_four_it_is_made_of():
    table = numbers("rss")
    table = table[table["table"].str.startswith("Table") & table["statistic"].eq("value")]
    key = ["table", "dataset", "setting", "method", "backbone"]
    wide = table.pivot(index=key, columns="metric", values="value").astype(float)
    assert len(wide) == 90
    computed = [
        reliable_segmentation_score(row.mIoU, row.ECE, row.p_acc_cer, row.p_unc_inacc)
        for row in wide.itertuples()
    ]
    # Five values rounded to three decimals.
    assert (wide["RSS"] - computed).abs().max() < 0.00074


def test_every_printed_difference_of_the_rss_tables_is_exact():
    table = numbers("rss")
    key = ["method", "backbone", "setting", "metric"]
    clean = table[table["table"].eq("Table 1") & table["dataset"].eq("Cityscapes")]
    clean = clean.set_index(key)["value"]
    checked = 0
    for name in ("Table 2", "Table 3"):
        weather = table[table["table"].eq(name)]
        values = weather[weather["statistic"].eq("value")].set_index(key)["value"]
        deltas = weather[weather["statistic"].eq("delta")].set_index(key)["value"]
        assert [values[cell] - clean[cell] for cell in deltas.index] == deltas.tolist()
        checked += len(deltas)
    assert checked == 200


MEASURES = {
    "mIoU": "miou",
    "ECE": "ece",
    "p_acc_cer": "p_acc_cer",
    "p_unc_inacc": "p_unc_inacc",
    "RSS": "rss",
}
WEATHER = {"Table 2": ("fog", 3), "Table 3": ("rain", 3)}


def test_the_report_of_robustness_gives_every_printed_difference(tmp_path):
    """Its own code, over models that have the values of Tables 1 to 3: table and file hold the 200 deltas."""
    table = numbers("rss")
    model = ["method", "backbone", "setting"]
    places = {("Table 1", "Cityscapes"): CLEAN}
    places |= {("Table 2", "Foggy Cityscapes"): WEATHER["Table 2"]}
    places |= {("Table 3", "Rainy Cityscapes"): WEATHER["Table 3"]}
    cells = {}
    for (name, dataset), cell in places.items():
        chosen = table[
            table["table"].eq(name) & table["dataset"].eq(dataset) & table["statistic"].eq("value")
        ]
        for key, values in chosen.groupby(model):
            measured = values.set_index("metric")["value"].astype(float).rename(MEASURES).to_dict()
            cells.setdefault(" ".join(key), {})[cell] = measured
    models = {name: of_model for name, of_model in cells.items() if len(of_model) == 3}
    assert len(models) == 20  # two methods, two backbones, five labelled shares
    markdown = write_robustness(tmp_path, models)
    written = pd.read_csv(tmp_path / "robustness.csv", keep_default_na=False)
    written = written.set_index(["model", "corruption"])
    lines = {
        tuple(part.strip() for part in line.strip("|\n").split("|"))[:2]: line
        for line in markdown.splitlines()
    }
    printed = table[table["table"].isin(WEATHER) & table["statistic"].eq("delta")]
    for row in printed.itertuples():
        place = (" ".join([row.method, row.backbone, row.setting]), WEATHER[row.table][0])
        delta = written.loc[place, f"{MEASURES[row.metric]} - clean"]
        assert round(Decimal(str(delta)), 3) == row.value
        assert f"({float(row.value):+.3f})" in lines[place].replace("(-0.000)", "(+0.000)")
    assert len(printed) == 200


def test_the_differences_of_computed_scores_are_the_printed_ones_but_for_rounding():
    """RSS of the four components, clean and in bad weather: what a report of own models would print."""
    table = numbers("rss")
    table = table[table["table"].isin(["Table 1", *WEATHER])]
    key = ["method", "backbone", "setting"]
    scores = {}
    for name in ("Table 1", *WEATHER):
        chosen = table[table["table"].eq(name) & table["dataset"].str.contains("Cityscapes")]
        wide = chosen[chosen["statistic"].eq("value")].pivot(index=key, columns="metric", values="value")
        parts = wide[["mIoU", "ECE", "p_acc_cer", "p_unc_inacc"]].to_numpy(float).T
        scores[name] = pd.Series(reliable_segmentation_scores(*parts), wide.index)
    printed = table[table["statistic"].eq("delta") & table["metric"].eq("RSS")].set_index(key)
    for name in WEATHER:
        of_table = printed[printed["table"].eq(name)]
        for place, value in of_table["value"].items():
            cells = {CLEAN: {"rss": scores["Table 1"][place]}, WEATHER[name]: {"rss": scores[name][place]}}
            (_, row, _) = robustness_rows("model", cells)
            assert row["rss - clean"] == pytest.approx(float(value), abs=0.0016)


def test_five_printed_differences_of_agscore_contradict_its_values_and_are_marked():
    table = numbers("agscore")
    key = ["table", "split", "setting", "backbone", "method"]
    values = table[table["statistic"].eq("value") & table["table"].le("Table 4")].set_index(key)["value"]
    deltas = table[table["statistic"].eq("delta")]
    wrong = []
    for row in deltas.itertuples():
        place = (row.table, row.split, row.setting, row.backbone)
        true = values[(*place, row.method)] - values[(*place, row.method.removesuffix("+AgScore"))]
        if true != row.value:
            wrong.append((row.Index, f"MISPRINT: the printed values give {true:+}"))
    marked = table[table["note"].str.contains("MISPRINT")]
    assert (len(deltas), len(wrong)) == (77, 5)
    assert [index for index, _ in wrong] == marked.index.tolist()
    assert [text for _, text in wrong] == marked["note"].str.split(";").str[0].tolist()
    assert marked["printed"].tolist() == ["+0.5", "+2.8", "+5.0", "+7.0", "79.5"]


def test_no_other_file_holds_a_difference_that_could_be_misprinted():
    for name in ("tcseg", "conformalsam", "mcnet", "remembered"):
        assert not read_printed(name)["note"].str.contains("MISPRINT").any()


def test_the_average_in_the_text_of_conformalsam_is_of_another_table():
    """Its text gives 3.1 as the mean gain over AllSpark on ADE20K, which Table 4 puts at 4.29."""
    table = numbers("conformalsam")

    def gain(name, method):
        printed = table[table["table"].eq(name)].pivot(index="setting", columns="method", values="value")
        pairs = printed[[method, "AllSpark"]].dropna()
        assert len(pairs) == 5
        return round(float((pairs[method] - pairs["AllSpark"]).astype(float).mean()), 2)

    assert gain("Table 4", "ConformalSAM(AllSpark)") == 4.29
    assert gain("Table 2", "ConformalSAM") == 3.1  # on Pascal VOC


def test_two_ablations_of_tcseg_are_printed_above_the_full_method():
    table = numbers("tcseg")
    brats = table[
        table["dataset"].eq("BraTS2019") & table["setting"].eq("10%") & table["table"].eq("Table 3")
    ]
    values = brats.set_index("variant")["value"]
    above = {name: str(value) for name, value in values.items() if value > values["full"]}
    assert str(values["full"]) == "85.27"
    assert above == {"w/o prob.": "85.63", "w/o feat.": "85.57"}


def test_the_audited_table_holds_figure_5_and_table_1_of_the_same_runs():
    table = read_printed("tcseg")
    last = table[table["method"].eq("TCSeg") & table["checkpoint"].eq("last") & table["metric"].eq("DSC")]
    audited = read_statistics(TABLES / "tcseg_figure5.csv")
    assert len(audited) == 4
    for setting in audited:
        dataset, share, _, _ = setting.name.split()
        figures = last[last["dataset"].eq(dataset) & last["setting"].str.startswith(share)]
        figures = figures[figures["table"].isin(["Table 1", "Figure 5"])].set_index("statistic")["printed"]
        expected = figures.rename({"max": "maximum"}).to_dict()
        assert {name: printed.text for name, printed in setting.values.items()} == expected
        assert setting.n == 5


@pytest.mark.parametrize(
    ("setting", "least"),
    [("LA 10%", 0.549), ("LA 20%", 0.227), ("Pancreas-CT 10%", 0.309), ("Pancreas-CT 20%", 0.503)],
)
def test_the_deviations_of_figure_5_are_smaller_than_five_runs_can_have(setting, least):
    audited = {row.name: row.values for row in read_statistics(TABLES / "tcseg_figure5.csv")}
    values = audited[f"{setting} last dice"]
    # Each printed digit at both ends of what it can stand for.
    ends = [(float(values[name].low), float(values[name].high)) for name in ("median", "maximum", "mean")]
    computed = min(least_deviation(*corner) for corner in product(*ends))
    assert computed == pytest.approx(least, abs=6e-4)
    assert float(values["std"].high) < computed * 0.95  # far beyond its own rounding


def least_deviation(median, maximum, mean):
    """Smallest population deviation of five numbers with these statistics.

    Of the two numbers below the median and the one between median and maximum only the sum is free, and the
    deviation is least where they are as equal as their bounds allow: below the median the two share what is
    missing while the third stays at the median, or the two stay at it and the third rises.
    """
    missing = 5 * mean - maximum - 4 * median
    below, above = (median + missing / 2, median) if missing < 0 else (median, median + missing)
    numbers = pd.Series([below, below, median, above, maximum])
    assert numbers.mean() == pytest.approx(mean)
    assert above <= maximum
    return float(numbers.std(ddof=0))
