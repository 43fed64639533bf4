"""Rows of published figures in the tables of a report."""

import pytest

from medssl.protocol.analysis.published import published_figures
from medssl.protocol.report.rows import TABLES, TABLES_OF_IMAGES, published_rows


@pytest.fixture(scope="module")
def figures():
    return published_figures()


def rows(figures, checkpoint, *, unit="voxel", dataset="la", labeled=8):
    place = figures[figures["dataset"].eq(dataset) & figures["labeled"].eq(labeled)]
    return published_rows(place, checkpoint=checkpoint, metrics=TABLES["overlap and distance"], unit=unit)


def test_best_stands_with_best_and_last_with_last(figures):
    last, best, unstated = ({row.name for row in rows(figures, name)} for name in ("last", "best", ""))
    assert {"DTC", "TCSeg", "TraCoCo"} <= last
    assert {"MC-Net+", "BCP", "A&D", "TCSeg", "TraCoCo"} <= best
    assert {"CRDS", "BoANet", "W2SPC", "OTCMC", "supervised only", "TCSeg w/o prob."} <= unstated
    assert not unstated & (last | best)
    assert not {"MC-Net+", "BCP", "A&D"} & last
    assert not {"DTC", "DBiSL"} & best
    assert all(row.published and row.marks == {} for row in rows(figures, ""))


def test_checkpoints_that_coincide_stand_in_both_tables(figures):
    for checkpoint in ("last", "best"):
        chosen = rows(figures, checkpoint, dataset="brats2019", labeled=25)
        (row,) = [row for row in chosen if row.name == "TCSeg"]
        assert row.cells["dice"] == "85.27 / 86.52"
        assert row.remark == "TCSeg paper, Table 1, Table 5; VNet-style; median / maximum"
        assert "protocols coincide (validation set)" in " ".join(row.notes)


def test_a_row_names_its_statistic_and_one_number_is_not_taken_for_a_median(figures):
    last = {(row.name, row.remark.rsplit("; ", 1)[1]): row for row in rows(figures, "last")}
    assert last["TCSeg", "median / maximum"].cells == {
        "dice": "90.28 / 90.39",
        "hausdorff95": "6.49 / 6.40",
        "asd": "1.77 / 1.88",
    }
    assert last["TCSeg", "mean / std"].cells == {"dice": "89.86 / 0.12"}
    assert "inconsistent with the Table 1 median and maximum" in last["TCSeg", "mean / std"].notes
    assert "Dice: inconsistent with Figure 5" in last["TCSeg", "median / maximum"].notes
    assert last["DTC", "statistic not stated"].cells["dice"] == "87.51"


def test_distances_in_another_unit_stay_out(figures):
    for row in rows(figures, "best", unit="mm"):
        assert set(row.cells) <= {"dice", "jaccard"}
    assert any("hausdorff95" in row.cells for row in rows(figures, "best"))


def test_remembered_rows_say_so(figures):
    more = published_figures(remembered=True)
    assert "URPC" not in {row.name for row in rows(figures, "")}
    (row,) = [row for row in rows(more, "") if row.name == "URPC"]
    assert row.remark == "from memory; statistic not stated"


def of_images(figures, table, dataset, labeled):
    place = figures[figures["dataset"].eq(dataset) & figures["labeled"].eq(labeled)]
    return published_rows(place, checkpoint="", metrics=TABLES_OF_IMAGES[table], unit="pixel")


def test_mean_iou_of_images_stands_as_printed_with_its_paper_and_split(figures):
    rows_of_voc = {(row.name, row.remark): row for row in of_images(figures, "accuracy", "voc", 92)}
    (row,) = [
        row
        for (name, remark), row in rows_of_voc.items()
        if name == "UniMatch+AgScore" and remark.startswith("AgScore paper, Table 1;") and "101" in remark
    ]
    assert "classic" in row.remark
    assert row.cells == {"miou": "75.6"}
    # A percentage in one paper, a fraction of 0.736 in the other.
    (row,) = [
        row
        for row in of_images(figures, "accuracy", "cityscapes", 100)
        if row.name == "Supervised" and "ViT-S" in row.remark
    ]
    assert row.cells == {"miou": "73.6"}


def test_reliability_of_images_stands_under_the_protocol_that_the_paper_implies(figures):
    rows_of_city = of_images(figures, "reliability", "cityscapes", 100)
    (row,) = [row for row in rows_of_city if row.name == "Supervised" and "ViT-S" in row.remark]
    assert set(row.cells) == {
        "ece", "p_acc_cer_landgraf2025", "p_unc_inacc_landgraf2025", "rss_landgraf2025"
    }  # fmt: skip
    assert not {"AgScore" in row.remark for row in rows_of_city} - {False}
