"""Scores of runs of images, from ``medssl evaluate`` and ``medssl protocol`` to the report."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml

from medssl.cli import main
from medssl.common.run_folder import RunFolder
from medssl.inference.deployment import load_deployment
from medssl.metrics import ImageSums, ReliabilityMetrics
from medssl.training import evaluation_cases
from tests.places import SHARED

from .conftest import IMAGE_BUNDLE, TINY_IMAGES, run, stages_run_here, workflow

METHODS = {
    "supervised": {"files": ["methods/supervised.yaml"]},
    "fixmatch agscore": {"files": ["methods/fixmatch.yaml", "selectors/agscore.yaml"]},
}
OF_THE_PROTOCOL = ("configs", "bundle_root", "device", "labeled")


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "fixmatch"
    settings = {**TINY_IMAGES, "dataset_dir": str(shapes), "run_dir": str(folder)}
    run(["train.yaml", "datasets/shapes.yaml", "methods/fixmatch.yaml"], **settings)
    return folder


def test_evaluate_scores_both_checkpoints_at_the_size_of_the_files(shapes, trained, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    assert main(["evaluate", str(folder), "--device", "cpu"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines if line[0] in ("best", "last")] == [["best", "2"], ["last", "2"]]
    parts = ["train.yaml", "datasets/shapes.yaml", "methods/fixmatch.yaml"]
    parser = workflow(parts, **{**TINY_IMAGES, "dataset_dir": str(shapes)}).parser
    cases = evaluation_cases(parser.get_parsed_content("datalist"), "test")
    for checkpoint in ("best", "last"):
        files = RunFolder(folder)
        deployment = load_deployment([folder / f"{checkpoint}.pt"])
        metrics = ReliabilityMetrics(4)
        reference = deployment.loader("reference")
        predictor = deployment.predictor(keep_probabilities=True, device="cpu")
        for item in cases:
            predicted = predictor(deployment.transform({"image": item["image"]})["image"])
            truth = reference({"reference": item["reference"]})["reference"][0].numpy()
            metrics.update(predicted.probabilities.astype(np.float32), truth.astype(np.int64))
        content = json.loads(files.reliability(checkpoint).read_text())
        assert content["pooled"] == pytest.approx(
            {k: None if v != v else v for k, v in metrics.compute().items()}, abs=1e-6
        )
        assert content["step"] == deployment.steps[0]
        pooled = ImageSums.load(files.sums(checkpoint)).pooled()
        assert float(pooled["miou"][0]) == pytest.approx(metrics.compute()["miou"], abs=1e-9)
        with files.scores(checkpoint).open() as table:
            rows = list(csv.DictReader(table))
        assert len(rows) == 4 * len(cases)
    assert main(["evaluate", str(folder), "--device", "cpu"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_protocol_of_images_runs_and_reports(shapes, tmp_path, capsys):
    settings = {name: value for name, value in TINY_IMAGES.items() if name not in OF_THE_PROTOCOL}
    content = {
        "bundle": str(IMAGE_BUNDLE),
        "datasets": {"shapes": {"files": ["datasets/shapes.yaml"], "labeled": [3]}},
        "methods": METHODS,
        "seeds": [1],
        "settings": settings,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    line = ["protocol", "run", str(tmp_path / "tiny.yaml"), "--dataset-dir", str(shapes)]
    with stages_run_here():
        assert main([*line, "--runs", str(tmp_path / "runs"), "--threads", "1"]) == 0
    assert "next: medssl protocol report" in capsys.readouterr().out
    for name in ("sums_best.npz", "sums_last_validation.npz", "cases_last.csv"):
        assert len(list((tmp_path / "runs").glob(f"*/{name}"))) == 2
    assert main(["protocol", "report", str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "tables.md").read_text()
    assert "fixmatch agscore" in text
    assert "mIoU (%)" in text
    assert (tmp_path / "report" / "figures" / "shapes-labeled3-selection.png").is_file()
    (row,) = [
        row
        for row in csv.DictReader((tmp_path / "report" / "scores.csv").open())
        if (row["method"], row["checkpoint"], row["metric"]) == ("supervised", "last", "miou")
    ]
    (sums,) = (tmp_path / "runs").glob("*supervised*/sums_last.npz")
    assert float(row["value"]) == float(ImageSums.load(sums).pooled()["miou"][0])


@pytest.mark.real("data/camvid")
def test_the_study_of_camvid_is_planned(tmp_path, capsys):
    data = str(SHARED / "data" / "camvid")
    line = ["protocol", "run", "camvid", "--dataset-dir", data, "--runs", str(tmp_path), "--dry-run"]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert "42 runs, 0 finished" in said
    assert "camvid-unimatch-v2-vit-agscore-labeled23-seed3" in said
    assert not list(tmp_path.iterdir())
