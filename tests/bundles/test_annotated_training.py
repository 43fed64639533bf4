"""Methods that learn from an annotator, in both bundles: from maps to checkpoints."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from ignite.engine import Events

from medssl.inference.checkpoints import load_checkpoint

from .conftest import TINY, TINY_IMAGES, refusal, run, workflow

MORE = {"calibrator::min_scores": 1, "method_options::switch": 0.5}


def of_images(data, maps):
    """Config files and settings of a training on images."""
    files = ["train.yaml", "datasets/shapes.yaml", "methods/conformal_self_training.yaml"]
    return files, {**TINY_IMAGES, **MORE, "dataset_dir": str(data), "annotations": str(maps)}


def of_scans(data, maps):
    files = ["train.yaml", "datasets/phantom.yaml", "methods/conformal_self_training.yaml"]
    more = {**MORE, "calibrator::grid": [12, 12, 12], "dataset_dir": str(data), "annotations": str(maps)}
    return files, {**TINY, **more}


@pytest.fixture(params=["images", "scans"])
def kind(request, shapes, shape_maps, phantoms, phantom_maps):
    return of_images(shapes, shape_maps) if request.param == "images" else of_scans(phantoms, phantom_maps)


def rows_of(folder):
    with (folder / "pseudo_labels.csv").open(newline="") as table:
        return [row for row in csv.DictReader(table) if row["selector"] == "conformal_self_training"]


def test_both_stages_train_and_leave_a_complete_run(kind, tmp_path):
    files, settings = kind
    run(files, **settings, run_dir=str(tmp_path / "run"))
    checkpoint = load_checkpoint(tmp_path / "run/last.pt")
    assert all(value.isfinite().all() for value in checkpoint["method"].values())
    assert len(json.loads((tmp_path / "run/run.json").read_text())["annotations_sha256"]) == 64
    state = torch.load(tmp_path / "run/calibrator.pt", weights_only=True)
    assert int(state["images"]) == settings["labeled"]
    overall = {row["step"]: row for row in rows_of(tmp_path / "run") if row["class"] == "all"}
    assert set(overall) == {"2", "4"}
    assert overall["4"]["coverage"] == "1.0"  # stage II believes everything


def test_a_resumed_training_ends_with_the_same_bits(shapes, shape_maps, tmp_path):
    files, settings = of_images(shapes, shape_maps)
    run(files, **settings, run_dir=str(tmp_path / "whole"))
    cut = {**settings, "run_dir": str(tmp_path / "cut"), "num_workers": 1}
    flow = workflow(files, **cut)
    flow.initialize()
    assert not (tmp_path / "cut").exists()
    trainer = flow.parser.get_parsed_content("train::trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())
    flow.run()
    assert load_checkpoint(tmp_path / "cut" / "last.pt")["progress"]["step"] == 2
    run(files, **{**cut, "resume": True})
    whole, resumed = (load_checkpoint(tmp_path / f / "last.pt")["method"] for f in ("whole", "cut"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "cut")


def test_maps_that_are_missing_are_refused_before_a_folder_is_made(kind, tmp_path):
    files, settings = kind
    (tmp_path / "maps").mkdir()
    first = min(Path(settings["annotations"]).iterdir())
    shutil.copy(first, tmp_path / "maps")
    settings = {**settings, "run_dir": str(tmp_path / "run")}
    assert "there is no annotation map for" in refusal(
        files, **{**settings, "annotations": str(tmp_path / "maps")}
    )
    assert "annotations: is not given" in refusal(files, **{**settings, "annotations": None})
    assert not (tmp_path / "run").exists()
