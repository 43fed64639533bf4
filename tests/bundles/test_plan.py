"""A plan with timed steps is read by the bundle: trained, scored, and refused where classes changed."""

import json

import pytest
import yaml

from medssl.cli import main
from tests.places import SHARED


@pytest.fixture
def planned(phantoms, tmp_path, monkeypatch, capsys):
    """Folder of a plan of phantoms from steps that were timed, and what was said."""
    monkeypatch.chdir(tmp_path)
    images = sorted(str(path) for path in (phantoms / "images").iterdir())
    labels = sorted(str(path) for path in (phantoms / "labels").iterdir())
    pairs = [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]
    content = {"training": pairs[:2], "unlabeled": images[2:4], "validation": pairs[4:5], "test": pairs[5:]}
    content["classes"] = ["background", "atrium"]
    (tmp_path / "d.json").write_text(json.dumps(content))
    words = ["plan", "d.json", "--out", "plan.yaml", "--budget", "30min", "--device", "cpu"]
    assert main([*words, "--method", "supervised"]) == 0
    return tmp_path, capsys.readouterr().out


def test_a_timed_plan_trains_and_scores(planned, capsys):
    folder, said = planned
    assert "in bf16" in said
    assert "MiB beside" in said
    short = ["--max_steps", "2", "--steps_per_epoch", "1", "--val_interval", "2", "--width", "2"]
    assert main(["train", "--plan", "plan.yaml", "tcseg_short", "--run-dir", "run", *short]) == 0
    settings = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    content = yaml.safe_load((folder / "plan.yaml").read_text())
    for name in ("patch_size", "learning_rate", "plan", "oversampling", "class_names"):
        assert settings[name] == content[name]
    assert main(["evaluate", "run"]) == 0
    assert (folder / "run" / "cases_last.csv").is_file()
    capsys.readouterr()
    content = json.loads((folder / "d.json").read_text())
    (folder / "d.json").write_text(json.dumps({**content, "classes": ["background", "liver"]}))
    assert main(["train", "--plan", "plan.yaml", "--run-dir", "again", *short]) == 2
    assert "it is for the classes background, atrium, and the datalist names background, liver" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
@pytest.mark.real("data/hippocampus", "data/acdc", "data/lgg")
@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("hippocampus", {"patch_size": [32, 48, 32], "spacing": None, "num_classes": 3, "in_channels": 1}),
        ("acdc", {"spacing": None, "num_classes": 4, "orientation": "RAS"}),
        ("lgg", {"in_channels": 3, "num_classes": 2}),
    ],
)
def test_real_scans_get_the_plan_that_a_person_would_make(tmp_path, monkeypatch, folder, expected):
    monkeypatch.chdir(tmp_path)
    data = SHARED / "data" / folder
    names = [path.name for path in sorted((data / "images").iterdir())][:8]
    pairs = [{"image": str(data / "images" / n), "label": str(data / "labels" / n)} for n in names]
    lists = {"training": pairs[:4], "unlabeled": [pair["image"] for pair in pairs[4:]]}
    (tmp_path / "d.json").write_text(json.dumps(lists))
    assert main(["plan", "d.json", "--out", "plan.yaml", "--step-time", "0.5", "--device", "cpu"]) == 0
    content = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    assert {name: content[name] for name in expected} == expected
    if folder == "acdc":
        assert content["network_strides"][0] == [2, 2, 1]
        assert 0 not in content["flip_axes"]
    if folder == "hippocampus":
        assert 1 not in content["flip_axes"]
    if folder == "lgg":
        assert content["preprocessing"][1]["channel_wise"] is True
