"""The commands, with models that are real but tiny."""

import json

import nibabel as nib
import numpy as np
import pytest

from medssl.annotators import read_map
from medssl.cli import main
from medssl.inference import load_run
from tests.annotators.test_monai_bundle import config, write_bundle, write_scan
from tests.annotators.tiny import save_model
from tests.evaluation.test_annotations import write_set
from tests.inference.images import save_model as save_run
from tests.inference.images import save_picture


def test_images_are_annotated_by_words_and_the_maps_measured(tmp_path, capsys):
    write_set(tmp_path / "set", training=2, others=2)
    (tmp_path / "weights").mkdir()
    save_model("clipseg", tmp_path / "weights")
    line = ["annotate", str(tmp_path / "set/d.json"), str(tmp_path / "maps"), "--model", "clipseg"]
    line += ["--weights", str(tmp_path / "weights"), "--device", "cpu", "--classes", "dog; cat; tree; car"]
    assert main([*line, "--lists", "training"]) == 0
    assert "2 annotated, 0 were there, 0 failed" in capsys.readouterr().out
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "2 annotated, 2 were there, 0 failed" in out
    assert f"next: medssl annotate report {tmp_path / 'maps'}" in out
    assert read_map(tmp_path / "maps" / "c3.npz").shape == (4, 32, 32)
    record = json.loads((tmp_path / "maps" / "annotator.json").read_text())
    assert record["classes"] == ["dog", "cat", "tree", "car"]
    (tmp_path / "set/images/c3.png").write_text("damaged")
    (tmp_path / "maps" / "c3.npz").unlink()
    assert main(line) == 1
    assert "c3.png" in capsys.readouterr().out
    assert main([*line[:-1], "dog; cat; tree; bus"]) == 2
    assert "holds maps made with classes" in capsys.readouterr().err


def test_the_report_is_printed_and_written(tmp_path, capsys):
    write_set(tmp_path)
    line = ["annotate", "report", str(tmp_path / "maps" / "train"), str(tmp_path / "maps" / "val")]
    line += [str(tmp_path / "d.json"), "--alpha", "0.1", "0.2", "--pooling", "image"]
    line += ["--out", str(tmp_path / "r")]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "calibrated on 12 labelled images (pooling image, no background), measured on 4 (test)" in out
    names = {"annotator.csv", "coverage.csv", "coverage.md", "coverage.png", "coverage.svg"}
    assert {path.name for path in (tmp_path / "r").iterdir()} == names
    assert main(["annotate", "report", str(tmp_path / "maps")]) == 2
    assert main(["annotate", "report", str(tmp_path / "none"), str(tmp_path / "d.json")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_run_annotates_as_it_predicts(tmp_path, capsys):
    save_run(tmp_path / "run" / "last.pt")
    (tmp_path / "images").mkdir()
    image = save_picture(tmp_path / "images" / "a.png")
    line = ["annotate", str(tmp_path / "images"), str(tmp_path / "maps"), "--run", str(tmp_path / "run")]
    assert main([*line, "--precision", "float32", "--device", "cpu"]) == 0
    expected = load_run(tmp_path / "run").deployment.predict(image, keep_probabilities=True, device="cpu")
    np.testing.assert_allclose(read_map(tmp_path / "maps" / "a.npz"), expected.probabilities, atol=1e-5)
    record = json.loads((tmp_path / "maps" / "annotator.json").read_text())
    assert record["classes"] == ["sky", "road", "car", "pedestrian"]
    assert main([*line[:2], str(tmp_path / "other"), *line[3:], "--classes", "sky; road"]) == 2
    assert "are 2, the model has 4" in capsys.readouterr().err


def test_a_bundle_annotates_scans(tmp_path, capsys):
    write_bundle(tmp_path / "bundle", config())
    (tmp_path / "scans").mkdir()
    write_scan(tmp_path / "scans" / "a.nii.gz")
    line = ["annotate", str(tmp_path / "scans"), str(tmp_path / "maps"), "--model", "bundle", "--weights"]
    line += [str(tmp_path / "bundle"), "--classes", "background; spleen", "--device", "cpu"]
    assert main(line) == 2
    assert "needs the bundle's folder and a class map" in capsys.readouterr().err
    assert main([*line, "--class-map", "0=0", "1=2,3"]) == 0
    stored, scan = (nib.load(tmp_path / folder / "a.nii.gz") for folder in ("maps", "scans"))
    assert stored.shape == (*scan.shape, 2)
    assert np.array_equal(stored.affine, scan.affine)
    assert stored.get_data_dtype() == np.uint8


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ([], "the annotator: is not said"),
        (["--model", "clipseg", "--run", "r"], "is not said, or twice"),
        (["--model", "clipseg"], "--classes: is missing"),
        (["--model", "clipseg", "--classes", "sky"], "fewer than two"),
        (["--model", "clipseg", "--classes", "a; b", "--class-map", "0=0"], "goes with --model bundle"),
        (["--run", "r", "--weights", "w"], "goes with --model"),
        (["--model", "clipseg", "--classes", "a; b", "--weights", "/no/such"], "cannot be had"),
    ],
)
def test_bad_options_are_refused_in_one_line(tmp_path, capsys, options, fault):
    assert main(["annotate", str(tmp_path), str(tmp_path / "maps"), *options]) == 2
    message = capsys.readouterr().err
    assert fault in message
    assert message.count("\n") == 1
    assert not (tmp_path / "maps").exists()
