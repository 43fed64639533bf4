"""``medssl plan`` on scans, and what ``medssl train --plan`` makes of its file."""

import json

import pytest
import yaml

from medssl.cli import main
from medssl.commands.plan import seconds_of
from medssl.common.errors import InputError
from medssl.data.preparing.phantom_set import write_phantoms


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, cases=6, size=(40, 40, 32), seed=1)
    return folder


@pytest.fixture
def listed(phantoms, tmp_path, monkeypatch):
    """A datalist of two labelled phantoms; the user stands beside it."""
    monkeypatch.chdir(tmp_path)
    images = sorted(str(path) for path in (phantoms / "images").iterdir())
    labels = sorted(str(path) for path in (phantoms / "labels").iterdir())
    pairs = [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]
    content = {
        "training": pairs[:2],
        "unlabeled": images[2:4],
        "validation": pairs[4:5],
        "test": pairs[5:],
        "classes": ["background", "atrium"],
    }
    (tmp_path / "d.json").write_text(json.dumps(content))
    return tmp_path / "d.json"


def plan(*words):
    return main(["plan", "d.json", "--out", "plan.yaml", "--budget", "1h", "--device", "cpu", *words])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("30min", 1800), ("1.5h", 5400), ("2d", 172_800)]
)
def test_times_are_read_in_every_unit(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0h", "-2h", "2 weeks"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match="is no time"):
        seconds_of(text)


def test_a_told_step_time_gives_the_same_bytes_and_a_table(listed, capsys):
    assert plan("--step-time", "0.5") == 0
    said = capsys.readouterr().out
    first = (listed.parent / "plan.yaml").read_bytes()
    assert plan("--step-time", "0.5", "--overwrite", "--jobs", "2") == 0
    assert (listed.parent / "plan.yaml").read_bytes() == first
    content = yaml.safe_load(first)
    assert content["class_names"] == ["atrium"]
    assert content["datalist_file"] == str(listed)
    assert content["plan"]["labeled"] == 2
    for name in ("decision", "patch_size", "time: ", "budget: ", "next: medssl train --plan plan.yaml"):
        assert name in said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--budget soon", "is no time"),
        ("--method tcsegg", "did you mean 'tcseg'?"),
        ("--network segresent", "did you mean 'segresnet'?"),
        ("--modality mri --step-time 1", "did you mean 'mr'?"),
        ("--step-time 0", "is no time"),
        ("--step-time 1000", "buys 2 steps of 1000.00 s"),
        ("--classes 1 --step-time 1", "classes=1: must be at least 2"),
        ("--out plan.json", "a plan is a YAML file"),
    ],
)
def test_bad_words_are_one_line_and_leave_nothing(listed, capsys, words, line):
    assert plan(*words.split()) == 2
    stderr = capsys.readouterr().err
    assert line in stderr
    assert stderr.count("\n") == 1
    assert [path.name for path in listed.parent.iterdir()] == ["d.json"]


def test_a_faulty_data_set_and_an_existing_plan_are_refused(listed, capsys):
    (listed.parent / "plan.yaml").write_text("mine\n")
    assert plan("--step-time", "1") == 2
    assert "exists already" in capsys.readouterr().err
    content = json.loads(listed.read_text())
    content["test"] = content["training"][:1]
    listed.write_text(json.dumps(content))
    assert plan("--step-time", "1", "--overwrite") == 2
    assert "medssl check finds" in capsys.readouterr().err
    assert (listed.parent / "plan.yaml").read_text() == "mine\n"


def test_training_reads_data_method_and_network_from_the_plan(listed, capsys):
    assert plan("--step-time", "0.5", "--network", "segresnet", "--method", "supervised") == 0
    capsys.readouterr()
    assert main(["train", "--plan", "plan.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    names = ("train.yaml", "plan.yaml", "methods/supervised.yaml", "networks/segresnet.yaml")
    places = [said.index(name) for name in names]
    assert places == sorted(places)
    assert f"--datalist_file {listed}" in said
    assert main(["train", "--plan", "plan.yaml", "tcseg_own", "--dry-run"]) == 0
    assert "methods/tcseg_own.yaml" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("train --plan nowhere.yaml", "no such plan"),
        ("train --plan plan.yaml d.json tcseg", "takes no data set beside the plan"),
        ("train --plan plan.yaml tcsegg", "did you mean 'tcseg'?"),
    ],
)
def test_bad_words_of_a_planned_training_are_one_line(listed, capsys, words, line):
    assert plan("--step-time", "0.5") == 0
    capsys.readouterr()
    assert main(words.split()) == 2
    stderr = capsys.readouterr().err
    assert line in stderr
    assert stderr.count("\n") == 1


def test_a_list_that_moved_is_said_in_one_line(listed, capsys):
    assert plan("--step-time", "0.5") == 0
    listed.rename(listed.with_name("e.json"))
    assert main(["train", "--plan", "plan.yaml", "--dry-run"]) == 2
    assert "is not there; name its new place: --datalist_file FILE" in capsys.readouterr().err
    assert main(["train", "--plan", "plan.yaml", "--dry-run", "--datalist_file", "e.json"]) == 0
