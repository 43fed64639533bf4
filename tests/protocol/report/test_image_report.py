"""A report over runs of images, from the command to the files."""

import re

import numpy as np
import pandas as pd
import pytest

from medssl.cli import main
from medssl.metrics import ImageSums
from tests.protocol.folders import write_run
from tests.protocol.image_folders import write_image_run

pytestmark = pytest.mark.slow

SKILLS = {"supervised": 1.2, "fixmatch": 1.5, "fixmatch agscore": 1.6}
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    for number, (setting, skill) in enumerate(SKILLS.items()):
        for seed in SEEDS:
            folder = root / f"{number}-{seed}"
            options = {"dataset": "voc", "labeled": 92, "setting": setting}
            write_image_run(folder, skill=skill + 0.03 * seed, seed=10 * number + seed, **options)
    return root


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    assert main(["protocol", "report", str(study), "--out", str(out)]) == 0
    return out


def values(study, number, metric, checkpoint="last"):
    files = [study / f"{number}-{seed}" / f"sums_{checkpoint}.npz" for seed in SEEDS]
    return [float(ImageSums.load(file).pooled()[metric][0]) for file in files]


def test_the_table_prints_median_and_best_run_of_the_pooled_mean_iou_in_percent(study, report):
    text = (report / "tables.md").read_text(encoding="utf-8")
    assert "| setting | mIoU (%) |" in text
    for number, setting in enumerate(SKILLS):
        miou = values(study, number, "miou")
        expected = f"{100 * np.median(miou):.2f} / {100 * max(miou):.2f}"
        assert re.search(rf"^\| {setting} \(3 runs\) \| \**{re.escape(expected)}\** \|$", text, re.M), (
            expected
        )
        rss = values(study, number, "rss_landgraf2025", "best")
        assert f"{np.median(rss):.4f} / {max(rss):.4f}" in text
    assert "Dice" not in text
    assert r"RSS, published protocol" in text


def test_published_rows_stand_beside_them(report):
    text = (report / "tables.md").read_text(encoding="utf-8")
    accuracy = text[text.index("accuracy, published without saying") :]
    assert "published: UniMatch+AgScore (AgScore paper, Table 1" in accuracy
    assert "published: UniMatchV2 (RSS paper, Table 1" in accuracy
    reliability = accuracy[accuracy.index("reliability, published without saying") :]
    assert "AgScore" not in reliability


def test_the_page_says_how_numbers_of_images_come_about_and_draws_no_single_image(report):
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "no mean over images" in page
    assert "nothing is tested over images" in page
    assert 'id="voc-labeled92-runs"' in page
    assert 'id="voc-labeled92-selection"' in page
    assert 'id="voc-labeled92-cases"' not in page
    assert not re.search(r">nan\b|\bnan<", page)


def test_the_csv_files_hold_pooled_scores_intervals_and_classes(study, report):
    scores = pd.read_csv(report / "scores.csv")
    assert "sums" not in scores
    rows = scores.query("metric == 'rss' and method == 'fixmatch' and checkpoint == 'last'")
    assert rows.sort_values("seed")["value"].tolist() == pytest.approx(values(study, 1, "rss"), abs=1e-12)
    by_class = pd.read_csv(report / "summary_by_class.csv")
    assert set(by_class["class"]) == {0, 1, 2, 3}
    pairs = pd.read_csv(report / "comparisons.csv")
    miou = pairs[pairs["metric"].eq("miou")]
    assert miou[["low", "high", "simultaneous_low", "simultaneous_high"]].notna().all().all()
    assert miou["p"].isna().all()


def test_the_terminal_shows_mean_iou_by_default(study, tmp_path, capsys):
    assert main(["protocol", "report", str(study), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "voc, 92 labelled: mIoU (%), test images" in said
    assert "few seeds" in said


def test_another_metric_may_lead_and_an_unmeasured_one_is_refused(study, tmp_path, capsys):
    options = ["protocol", "report", str(study), "--out", str(tmp_path / "out")]
    assert main([*options, "--metric", "rss_landgraf2025"]) == 0
    assert "RSS, published protocol" in capsys.readouterr().out
    assert main([*options, "--overwrite", "--metric", "dice"]) == 2
    assert "is in the scores of no run" in capsys.readouterr().err


def test_scans_beside_images_are_one_line(study, tmp_path, capsys):
    write_run(tmp_path / "scan")
    assert main(["protocol", "report", str(study), str(tmp_path / "scan"), "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert "report scans and images apart" in error[0]


def test_no_run_is_said_to_win_another_where_there_are_too_few(study, report, tmp_path):
    assert re.search(r"<br>P [01]\.\d\d, p", (report / "index.html").read_text(encoding="utf-8"))
    folders = [str(study / f"{number}-{seed}") for number in (0, 1) for seed in (1, 2)]
    assert main(["protocol", "report", *folders, "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "P \N{EN DASH}, p" in page
    assert not re.search(r"<br>P [01]", page)
