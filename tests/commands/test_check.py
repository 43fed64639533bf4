import json
import os
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from medssl.cli import main
from medssl.data import build_datalist
from medssl.data.checks.findings import CODES
from medssl.data.preparing.phantom_set import write_phantoms
from tests.bundles.conftest import OWN_DATA, refusal
from tests.data.checks.damage import Folder, damaged_folder
from tests.places import ROOT


@pytest.fixture
def sound(tmp_path):
    folder = Folder(tmp_path / "set")
    for case, split in (("a", "training"), ("b", "unlabeled"), ("c", "test")):
        folder.add(case, split=split)
    folder.extra["classes"] = ["background", "left atrium"]
    return folder


def test_sound_set_gives_statistics_status_0_and_what_to_type_next(sound, capsys):
    path = sound.write()
    assert main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "3 cases: 0 errors, 0 warnings" in out
    assert "severity" not in out
    assert "0.7 x 0.8 x 2.5" in out
    assert "1 left atrium" in out
    assert out.endswith(f"next: medssl plan {path} --out plan.yaml\n")


def test_warning_alone_gives_status_0_and_an_error_1(sound, capsys):
    path = str(sound.write())
    assert main(["check", path, "--roi", "96", "96", "96"]) == 0
    out = capsys.readouterr().out
    assert out.endswith(" --patch_size '[96,96,96]'\n")
    assert "14 x 12 x 10 voxels, smaller than the patch (96 x 96 x 96)" in " ".join(out.split())
    assert "0 errors, 3 warnings" in out
    image, _ = sound.add("broken")
    image.write_bytes(b"")
    sound.add("fine")
    assert main(["check", str(sound.write())]) == 1
    out = capsys.readouterr().out
    assert "images/broken.nii.gz: is empty (0 bytes)" in " ".join(out.split())
    assert out.endswith("5 cases: 1 error, 0 warnings\n")


def test_json_holds_findings_statistics_and_cases(sound, capsys):
    image, _ = sound.add("broken")
    image.write_bytes(b"")
    assert main(["check", str(sound.write()), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert (record["errors"], record["warnings"], record["notes"]) == (1, 0, 0)
    (finding,) = record["findings"]
    assert finding == {
        "severity": "error",
        "code": "empty-file",
        "where": str(image),
        "fault": "is empty (0 bytes)",
        "remedy": "copy it again from its source",
        "case": "broken",
        "list": "training",
        "other": "",
    }
    assert record["statistics"]["training"]["unreadable"] == 1
    by_case = {case["case"]: case for case in record["cases"]}
    assert by_case["a"]["size"] == [14, 12, 10]
    assert len(by_case["a"]["content_sha256"]) == 64
    assert by_case["b"]["class_ml"] is None
    assert "size" not in by_case["broken"]


@pytest.mark.slow
def test_every_damage_ends_in_a_table_and_pictures(sound, tmp_path, capsys):
    folder, expected = damaged_folder(tmp_path / "damaged" / "set")
    report = tmp_path / "report"
    arguments = ["check", str(folder.write()), "--roi", "14", "12", "10", "--jobs", "2"]
    assert main([*arguments, "--report", str(report)]) == 1
    out = capsys.readouterr().out
    for case, codes in expected.items():
        assert not codes or case in out, case
    for name in ("contact_sheet.png", "histograms.png"):
        pixels = imread(report / name)
        assert min(pixels.shape[:2]) > 300
        assert np.std(pixels[..., :3]) > 0.05
    record = json.loads((report / "check.json").read_text(encoding="utf-8"))
    assert record["errors"] > 25
    assert main(["check", str(sound.write()), "--report", str(report)]) == 0  # it is replaced
    assert json.loads((report / "check.json").read_text(encoding="utf-8"))["errors"] == 0
    assert sorted(path.name for path in report.iterdir()) == [
        "check.json",
        "contact_sheet.png",
        "histograms.png",
    ]


def test_base_dir_is_where_relative_names_start(sound, tmp_path, capsys):
    moved = tmp_path / "lists" / "d.json"
    moved.parent.mkdir()
    sound.write().rename(moved)
    assert main(["check", str(moved)]) == 1
    assert "no such file" in capsys.readouterr().out
    assert main(["check", str(moved), "--base-dir", str(sound.root)]) == 0


def test_many_findings_of_a_kind_are_said_once_in_full_and_then_named(tmp_path, capsys):
    folder = Folder(tmp_path)
    for number in range(12):
        image, _ = folder.add(f"case{number:02d}")
        image.write_bytes(b"")
    assert main(["check", str(folder.write())]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("is empty (0 bytes)") == 5
    assert "7 more of this kind (empty-file): case05, case06" in out
    assert "case11" in out


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"training": [\n{"image": "a"},,]}', "is not valid JSON"),
        ('{"training": [{"image": "a", "image": "b", "label": "c"}]}', "gives the key 'image' twice"),
        (None, "no such file"),
        ('{"training": []}', "has no 'training' list"),
    ],
)
def test_datalist_that_cannot_be_read_gives_one_line_and_status_2(tmp_path, capsys, content, fault):
    path = tmp_path / "d.json"
    if content is not None:
        path.write_text(content)
    assert main(["check", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {path}: {fault}")
    assert captured.err.count("\n") == 1


@pytest.mark.slow
def test_command_line_says_findings_alone_whatever_the_terminal_can_show(sound):
    image, _ = sound.add("Größe")
    image.write_bytes(b"")
    command = [sys.executable, "-m", "medssl", "check", str(sound.write())]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=ascii_only)
    assert done.returncode == 1
    assert done.stdout.startswith("severity  case")
    assert r"Gr\xf6\xdfe" in done.stdout
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", [["--jobs", "0"], ["--classes", "1"], ["--roi", "0", "8", "8"]])
def test_bad_option_gives_one_line_and_status_2(sound, capsys, option):
    assert main(["check", str(sound.write()), *option]) == 2
    assert capsys.readouterr().err.startswith(f"error: {option[0][2:]}=")


def test_report_spares_a_folder_with_other_content(sound, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert main(["check", str(sound.write()), "--report", str(tmp_path / "mine")]) == 2
    assert "holds something else than a report" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def label_outside(data):
    path = data / "labels" / "phantom_000.nii.gz"
    label = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj) * np.uint8(7), label.affine), path)


def copy_in_two_lists(data):
    shutil.copy(data / "images" / "phantom_000.nii.gz", data / "images" / "phantom_003.nii.gz")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "code"), [(label_outside, "label-range"), (copy_in_two_lists, "copy-across-lists")]
)
def test_training_refuses_an_error_with_the_words_of_the_check(tmp_path, capsys, damage, code):
    data, datalist = tmp_path / "data", tmp_path / "d.json"
    write_phantoms(data, cases=4, seed=1, size=(40, 40, 32))
    damage(data)
    datalist.write_text(json.dumps(build_datalist(data, dataset="phantom", labeled=1, validation=1)))
    assert main(["check", str(datalist), "--classes", "2", "--json"]) == 1
    refused = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["code"] == code]
    places = {"datalist_file": str(datalist), "dataset_dir": str(data), "run_dir": str(tmp_path / "run")}
    message = refusal(["train.yaml", "datasets/phantom.yaml"], **OWN_DATA | places)
    assert message in [f"{f['where']}: {f['fault']}; {f['remedy']}" for f in refused]


def test_guide_lists_every_code_with_its_severity():
    guide = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    for code, (severity, _) in CODES.items():
        assert f"| `{code}` | {severity} |" in guide
