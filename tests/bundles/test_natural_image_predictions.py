"""What follows a training on images: predictions, robustness and calibration of one run."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from medssl.cli import main
from medssl.data import build_datalist

from .conftest import IMAGE_BUNDLE, TINY_IMAGES, refusal, run, workflow

TRAIN = ["train.yaml", "datasets/shapes.yaml", "methods/supervised.yaml"]
CELLS = ["--corruptions", "fog", "noise", "--severities", "5"]


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    """The folder of a finished run at another resolution than the files'."""
    folder = tmp_path_factory.mktemp("runs") / "supervised"
    settings = {**TINY_IMAGES, "dataset_dir": str(shapes), "run_dir": str(folder), "resize": [30, 44]}
    run(TRAIN, **settings)
    return folder


@pytest.fixture(scope="module")
def datalist(shapes, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "d.json"
    counts = {name: TINY_IMAGES[name] for name in ("labeled", "validation", "test")}
    path.write_text(json.dumps(build_datalist(shapes, dataset="shapes", **counts)))
    return path


def called(*words):
    return main([str(word) for word in words])


def test_the_command_and_the_bundles_inference_say_the_same(shapes, trained, tmp_path):
    assert called("predict", trained, shapes, tmp_path / "out", "--device", "cpu") == 0
    settings = {
        **{name: TINY_IMAGES[name] for name in ("configs", "bundle_root", "device")},
        "dataset_dir": str(shapes),
        "checkpoint": str(trained / "last.pt"),
    }
    run(["inference.yaml"], "infer", **settings, output_dir=str(tmp_path / "bundle"))
    flow = workflow(["inference.yaml"], "infer", **settings, output_dir=str(tmp_path / "maps"))
    flow.initialize()
    flow.parser.get_parsed_content("evaluator").run()
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert len(pictures) == 4 * 10
    for path in pictures:
        assert path.read_bytes() == (tmp_path / "bundle" / path.name).read_bytes()
        if not path.name.endswith("_overlay.png"):
            assert path.read_bytes() == (tmp_path / "maps" / path.name).read_bytes()
    assert Image.open(pictures[0]).size == (52, 40)
    names = yaml.safe_load((IMAGE_BUNDLE / "configs/datasets/shapes.yaml").read_text())["class_names"]
    with (tmp_path / "out/classes.csv").open(newline="") as table:
        assert [row["name"] for row in csv.DictReader(table)] == names


def test_a_run_is_measured_on_its_own_cases_and_clean_is_its_score(trained, datalist, tmp_path, capsys):
    folder = tmp_path / "supervised"
    shutil.copytree(trained, folder)
    assert called("robustness", folder, *CELLS, "--device", "cpu") == 0
    assert "fog-depth-free" in capsys.readouterr().out
    out = folder / "robustness_last"
    assert (out / "radar.png").is_file()
    with (out / "robustness.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["corruption"] for row in rows] == ["clean", "fog-depth-free", "noise", "mean of corruptions"]
    files = [str(folder / "config.yaml"), "evaluate.yaml"]
    settings = {name: TINY_IMAGES[name] for name in ("configs", "bundle_root", "device")}
    run(files, "train", **settings, run_dir=str(folder))
    pooled = json.loads((folder / "reliability_last.json").read_text())["pooled"]
    clean = json.loads((out / "cells/clean-0.json").read_text())["values"]
    assert clean == {name: pytest.approx(pooled[name], abs=2e-6) for name in clean}
    assert list(clean) == ["miou", "ece", "p_acc_cer", "p_unc_inacc", "rss"]

    several = ["robustness", f"one={trained}", f"two={trained / 'best.pt'}", "--input", datalist]
    assert called(*several, "--out", tmp_path / "both", *CELLS, "--device", "cpu") == 0
    of_command = json.loads((tmp_path / "both/cells/one/noise-5.json").read_text())
    assert of_command == json.loads((out / "cells/noise-5.json").read_text())
    with (tmp_path / "both/robustness.csv").open(newline="") as table:
        assert {row["model"] for row in csv.DictReader(table)} == {"one", "two"}


def test_depth_maps_make_the_published_fog(shapes, trained, datalist, tmp_path, capsys):
    depth = tmp_path / "depth"
    depth.mkdir()
    words = ["robustness", trained, "--input", datalist, "--device", "cpu", "--depth", depth]
    words += ["--corruptions", "fog", "--severities", "5", "--out", tmp_path / "out"]
    assert called(*words) == 2
    assert "cannot be read" in capsys.readouterr().err
    for item in json.loads(datalist.read_text())["test"]:
        np.save(depth / f"{item['case']}.npy", np.full((40, 52), 20.0))
    assert called(*words) == 0
    assert (tmp_path / "out/cells/supervised/fog-5.json").is_file()


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (["--margin", "5"], "reliability_margin"),
        (["--corruptions", "gibbs"], "no such name"),
        (["--severities", "6"], "severity 6"),
        (["--out", "somewhere"], "need cases and a folder"),
    ],
)
def test_faults_of_the_robustness_of_a_run_are_one_line(trained, capsys, more, fault):
    assert called("robustness", trained, "--device", "cpu", *more) == 2
    error = capsys.readouterr().err
    assert fault in error
    assert len([line for line in error.splitlines() if line.startswith("error")]) == 1


def test_a_temperature_changes_confidence_and_no_label(shapes, trained, datalist, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    assert called("predict", folder, shapes, tmp_path / "before", "--device", "cpu") == 0
    assert called("calibrate", folder, datalist, "--device", "cpu") == 0
    fit = json.loads((folder / "last.calibration.json").read_text())
    assert fit["nll_after"] <= fit["nll_before"]
    assert fit["cases"] == 2
    assert called("predict", folder, shapes, tmp_path / "after", "--device", "cpu") == 0
    confident = []
    for name in ("before", "after"):
        paths = sorted((tmp_path / name).glob("*_confidence.png"))
        confident.append([np.asarray(Image.open(path)).mean() for path in paths])
        segmented = [path.read_bytes() for path in sorted((tmp_path / name).glob("*_seg.png"))]
        assert segmented == [path.read_bytes() for path in sorted((tmp_path / "before").glob("*_seg.png"))]
    assert confident[0] != confident[1]


def test_promises_are_for_scans(trained, datalist, tmp_path, capsys):
    shutil.copy(trained / "last.pt", tmp_path / "last.pt")
    assert called("calibrate", tmp_path / "last.pt", datalist, "--device", "cpu", "--risk", "0.5") == 2
    assert "is for scans, and this model is for images" in capsys.readouterr().err
    assert not (tmp_path / "last.calibration.json").exists()


def test_inference_does_not_write_over_maps(shapes, trained, tmp_path):
    settings = {
        **{name: TINY_IMAGES[name] for name in ("configs", "bundle_root", "device")},
        "dataset_dir": str(shapes),
        "checkpoint": str(trained / "last.pt"),
        "output_dir": str(tmp_path),
    }
    run(["inference.yaml"], "infer", **settings)
    assert "add --resume to go on" in refusal(["inference.yaml"], "infer", **settings)
