import json
import re
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl.cli import build_parser, command_names, main
from medssl.data import load_datalist, read_split, validate_datalist
from medssl.data.lists.datalist import LISTS
from tests.places import ROOT
from tests.scripts.load import script

GUIDE = (ROOT / "docs" / "data.md").read_text()


@pytest.fixture
def own(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for number in range(10):
            label = np.zeros((5, 5, 5), np.uint8)
            label[: 1 + number % 5] = 4
            if part == "images":
                label[0, 0, 0] = number  # no scan is a copy of another
            nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / part / f"P{number // 2}_{number}.nii.gz")
    return tmp_path


def run(folder, *options):
    return main(
        ["datalist", "--images", str(folder / "images"), "--labels", str(folder / "labels"), *options]
    )


def test_own_data_ends_in_a_datalist_and_a_table(own, capsys):
    out = own / "d.json"
    shares = ["--labeled", "0.25", "--validation", "1", "--test", "0.2", "--seed", "1"]
    assert run(own, *shares, "--label-map", "4=1", "--out", str(out)) == 0
    datalist = load_datalist(out)
    validate_datalist(datalist)
    assert [len(datalist[key]) for key in LISTS] == [2, 5, 1, 2]
    assert datalist["label_map"] == {"4": 1}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["list", "cases", "label", "ml:", "median", "(range)"]
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["training", "2"],
        ["unlabeled", "5"],
        ["validation", "1"],
        ["test", "2"],
    ]
    assert "5 unlabelled cases have a label" in lines[5]
    assert lines[-1] == f"next: medssl check {out}"


def test_patients_have_a_column(own, capsys):
    assert (
        run(own, "--test", "4", "--labeled", "2", "--group-pattern", "P[0-9]", "--out", str(own / "d.json"))
        == 0
    )
    table = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[:5]]
    assert table == [
        ["list", "cases", "patients"],
        ["training", "2", "1"],
        ["unlabeled", "4", "2"],
        ["validation", "0", "0"],
        ["test", "4", "2"],
    ]


def test_published_split(tmp_path, capsys):
    split = read_split("pancreas_ct")
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for case in (*split.training, *split.test):
            (tmp_path / part / f"{case}.nii.gz").touch()
    command = ["datalist", "--dataset", "pancreas_ct", "--data", str(tmp_path), "--labeled", "6"]
    assert main([*command, "--out", str(tmp_path / "d.json")]) == 0
    assert "holds image0025, image0070, which the archive withdrew" in capsys.readouterr().out
    assert main([*command, "--exclude-withdrawn", "--out", str(tmp_path / "clean.json")]) == 0
    assert "withdrawn cases left out" in capsys.readouterr().out
    sizes = {
        name: [len(load_datalist(tmp_path / name)[key]) for key in ("training", "unlabeled", "test")]
        for name in ("d.json", "clean.json")
    }
    assert sizes == {"d.json": [6, 56, 20], "clean.json": [6, 55, 19]}


def test_nothing_is_overwritten_unasked(own, capsys):
    out = own / "d.json"
    out.write_text("mine")
    assert run(own, "--out", str(out)) == 2
    assert (
        capsys.readouterr().err == f"error: {out}: exists already; add --overwrite or choose another name\n"
    )
    assert out.read_text() == "mine"
    assert run(own, "--labeled", "2", "--out", str(out), "--overwrite") == 0
    assert json.loads(out.read_text())["training"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labeled", "8", "--out", "d.json"], "neither --dataset nor --images"),
        (["--dataset", "la", "--out", "d.json"], "--data: is missing"),
        (["--dataset", "laa", "--data", ".", "--out", "d.json"], "did you mean 'la'"),
        (["--dataset", "custom", "--data", ".", "--out", "d.json"], "is no published split"),
        (["--dataset", "la", "--data", ".", "--group-pattern", "x", "--out", "d.json"], "goes with --images"),
        (["--images", ".", "--exclude-withdrawn", "--out", "d.json"], "goes with --dataset"),
        (["--images", ".", "--label-map", "4:3", "--out", "d.json"], "no list of OLD=NEW"),
        (["--images", ".", "--labeled", "many", "--out", "d.json"], "is no number"),
        (["--images", "nowhere", "--out", "d.json"], "no such folder"),
        (["--images", "."], "--out"),
    ],
)
def test_bad_arguments_give_one_line_and_status_2(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["datalist", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_tells_of_rounding(capsys):
    assert main(["datalist", "--help"]) == 0
    assert "rounded to the nearest number" in " ".join(capsys.readouterr().out.split())


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def test_commands_of_the_guide_are_understood(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    assert {line[1] for line in lines} >= {"datalist", "scripts/prepare_la.py", "scripts/prepare_msd.py"}
    for line in lines:
        if line[0] == "medssl":
            build_parser(command_names()).parse_args(line[1:])
        else:
            arguments = [word for word in line[2:] if word != "--download"]
            assert script(Path(line[1]).stem).main(arguments) == 2
            assert "usage" not in capsys.readouterr().err  # the folders are missing, nothing else


def test_datalist_of_the_guide_is_read(tmp_path):
    (tmp_path / "d.json").write_text(blocks("json")[0])
    datalist = load_datalist(tmp_path / "d.json")
    assert [item["case"] for item in datalist["unlabeled"]] == ["b", "c"]
    assert datalist["label_map"] == {"4": 3}
    for key in datalist:
        assert f"`{key}`" in GUIDE


def test_python_of_the_guide_runs(own, tmp_path, monkeypatch):
    (tmp_path / "DATA").mkdir()
    for part in ("images", "labels"):
        (own / part).rename(tmp_path / "DATA" / part)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.json").write_text(blocks("json")[0])
    names = {}
    exec(compile(blocks("python")[0].replace("labeled=8", "labeled=2"), "docs/data.md", "exec"), names)
    assert (len(names["labeled"]), len(names["unlabeled"])) == (186, 2789)


def test_every_key_of_a_datalist_is_in_the_guide(own):
    assert (
        run(
            own, "--labeled", "2", "--label-map", "4=1", "--group-pattern", "P.", "--out", str(own / "d.json")
        )
        == 0
    )
    for key in json.loads((own / "d.json").read_text()):
        assert f"`{key}`" in GUIDE, key
