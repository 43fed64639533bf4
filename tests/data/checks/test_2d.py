"""A folder of 2D images with masks, from the datalist to the report."""

import json

import numpy as np
import pytest
from PIL import Image

from medssl.cli import main
from medssl.common.errors import InputError
from medssl.data.checks.run import check_datalist

SIZE = (24, 32)


@pytest.fixture
def street(tmp_path):
    """Ten RGB images with masks of three classes; ``images/`` as JPEG, ``labels/`` as PNG."""
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(10):
        mask = np.zeros(SIZE, np.uint8)
        mask[10:] = 1
        mask[14:20, 5 : 10 + number] = 2
        Image.fromarray(mask).save(tmp_path / "labels" / f"town{number % 5}_{number}.png")
        pixels = (mask[..., None] * 60 + rng.integers(0, 60, (*SIZE, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"town{number % 5}_{number}.jpg")
    (tmp_path / "dataset.json").write_text(json.dumps({"classes": ["road", "house", "tree"]}))
    return tmp_path


def list_street(folder, *options):
    command = ["datalist", "--images", str(folder / "images"), "--out", str(folder / "d.json"), *options]
    assert main([*command, "--labeled", "2", "--validation", "2"]) == 0
    return json.loads((folder / "d.json").read_text())


def test_a_folder_is_listed_with_masks_and_towns_kept_together(street, capsys):
    datalist = list_street(street, "--group-pattern", "^(town[0-9])")
    assert "label pixels: median (range)" in capsys.readouterr().out
    assert datalist["classes"] == ["road", "house", "tree"]
    assert [len(datalist[name]) for name in ("training", "unlabeled", "validation")] == [2, 6, 2]
    for item in datalist["training"]:
        assert item["image"].endswith(".jpg")
        assert item["label"].endswith(".png")
    towns = {name: {item["case"][:5] for item in datalist[name]} for name in ("training", "validation")}
    assert not towns["training"] & towns["validation"]
    mask = np.asarray(Image.open(datalist["training"][0]["label"]))
    assert datalist["label_pixels"][datalist["training"][0]["case"]] == (mask > 0).sum()


def test_a_sound_folder_has_no_finding_and_true_statistics(street, capsys):
    list_street(street)
    capsys.readouterr()
    report = street / "report"
    assert main(["check", str(street / "d.json"), "--roi", "16", "16", "--report", str(report)]) == 0
    printed = capsys.readouterr().out
    assert "10 cases: 0 errors, 0 warnings" in printed
    assert "size (pixels)" in printed
    assert "mm" not in printed
    assert "voxels" not in printed
    assert (report / "contact_sheet.png").is_file()
    facts = json.loads((report / "check.json").read_text())["statistics"]["all"]
    assert [spread["median"] for spread in facts["size"]] == list(SIZE)
    assert facts["channels"] == [3]
    assert "spacing_mm" not in facts
    assert facts["class_pixels"]["2"]["min"] >= 6 * 5


def test_faults_of_masks_and_copies_are_found(street):
    datalist = list_street(street)
    image, other = (item["image"] for item in datalist["unlabeled"][:2])
    Image.open(image).save(f"{other[:-4]}.png")  # the same pixels in another format
    datalist["unlabeled"][1]["image"] = f"{other[:-4]}.png"
    (street / "d.json").write_text(json.dumps(datalist))
    narrow, colourful = (item["label"] for item in datalist["training"])
    Image.fromarray(np.zeros((24, 30), np.uint8)).save(narrow)
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(colourful)
    grey = datalist["validation"][0]["image"]
    Image.open(grey).convert("L").save(grey)
    result = check_datalist(street / "d.json", roi=(25, 16))
    codes = {finding.code for finding in result.findings}
    assert {"label-shape", "label-channels", "channels", "small", "same-scan"} <= codes


def test_a_patch_needs_a_size_for_each_axis(street):
    list_street(street)
    with pytest.raises(InputError, match="has 3 sizes, the images have 2 axes"):
        check_datalist(street / "d.json", roi=(8, 8, 8))


def test_masks_with_a_palette_and_void_pass(street, capsys):
    for path in (street / "labels").iterdir():
        ids = np.asarray(Image.open(path)).copy()
        ids[0] = 255
        mask = Image.fromarray(ids)
        mask.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
        mask.save(path)
    list_street(street)
    capsys.readouterr()
    assert main(["check", str(street / "d.json")]) == 0
    printed = capsys.readouterr().out
    assert "10 cases: 0 errors, 0 warnings" in printed
    assert "255 not labelled" in printed
    assert "0 road" in printed  # a class like others, as it is not called background


def test_without_names_class_0_is_a_class_like_others(street, capsys):
    (street / "dataset.json").unlink()
    list_street(street)
    capsys.readouterr()
    assert main(["check", str(street / "d.json")]) == 0
    assert "0 class 0" in capsys.readouterr().out


def test_masks_in_colours_say_what_to_do(street):
    datalist = list_street(street)
    first, second = (item["label"] for item in datalist["training"])
    ids = np.asarray(Image.open(first))
    Image.fromarray(ids).convert("RGB").save(first)
    Image.fromarray(np.stack([ids * 10, ids * 20, ids * 30], -1)).save(second)
    result = check_datalist(street / "d.json")
    remedies = {f.where: f.remedy for f in result.findings if f.code == "label-channels"}
    assert "its channels are equal" in remedies[first]
    assert "a number for each colour" in remedies[second]


def test_ids_beyond_the_classes_and_a_label_of_the_wrong_size_are_errors(street):
    datalist = list_street(street)
    label, turned = (item["label"] for item in datalist["training"])
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(label)
    Image.fromarray(np.zeros(SIZE[::-1], np.uint8)).save(turned)
    findings = {(f.code, f.where): f for f in check_datalist(street / "d.json").findings}
    assert "the id 7; the 3 classes are 0 to 2" in findings["label-range", label].fault
    assert ("label-shape", turned) in findings


def test_labels_as_jpeg_are_refused_where_a_folder_is_listed(street, capsys):
    for path in list((street / "labels").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    assert main(["datalist", "--images", str(street / "images"), "--out", str(street / "d.json")]) == 2
    error = capsys.readouterr().err
    assert "is a label as JPEG" in error
    assert "save labels as .png" in error
