import json
import os
from collections import defaultdict

import numpy as np
import pytest

from medssl.common.errors import InputError
from medssl.data import LoadCased, load_datalist, validate_datalist
from medssl.data.checks.findings import CODES, SEVERITIES, CaseError, Finding, refuse
from medssl.data.checks.run import check_datalist
from medssl.data.lists.datalist import LISTS
from tests.data.checks.damage import Folder, damaged_folder, noise

ROI = (14, 12, 10)
DATALIST_LEVEL = {
    "entry",
    "case-twice",
    "file-twice",
    "copy-across-lists",
    "patient-across-lists",
    "label-is-image",
    "same-scan-across-lists",
    "axes",
}
"""Errors that no single file shows."""


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    folder, expected = damaged_folder(tmp_path_factory.mktemp("damage") / "set")
    path = folder.write()
    return path, expected, check_datalist(path, roi=ROI, jobs=2)


def test_every_kind_of_damage_is_named_in_one_pass(checked):
    _, expected, result = checked
    codes_by_case = defaultdict(set)
    for finding in result.findings:
        codes_by_case[finding.case].add(finding.code)
    assert len(expected) > 45
    assert codes_by_case.pop("") == {"entry"}
    assert codes_by_case == {case: codes for case, codes in expected.items() if codes}


def test_findings_are_lines_with_a_remedy_worst_first(checked):
    _, _, result = checked
    order = [SEVERITIES.index(finding.severity) for finding in result.findings]
    assert order == sorted(order)
    for finding in result.findings:
        assert "\n" not in str(finding.error())
        assert finding.where
        assert finding.remedy
    assert len(set(result.findings)) == len(result.findings)


def test_loading_refuses_every_error_with_the_words_of_the_check(checked):
    path, _, result = checked
    refused = []
    items = {
        (name, item["case"]): item
        for name in ("training", "validation", "test")
        for item in load_datalist(path, refused=refused)[name]
    }
    load = LoadCased(["image", "label"], in_channels=1, num_classes=2)
    errors = defaultdict(list)
    for finding in result.findings:
        if finding.severity == "error" and finding.code not in DATALIST_LEVEL:
            errors[finding.split, finding.case].append(str(finding.error()))
    assert len(errors) > 25
    for key, item in items.items():
        if key in errors:
            with pytest.raises(InputError) as caught:
                load(item)
            assert str(caught.value) in errors[key]
        elif key[1] != "image-as-label":
            load(item)


def test_validation_refuses_a_datalist_with_the_words_of_the_check(checked):
    path, _, result = checked
    refused = []
    datalist = load_datalist(path, refused=refused)
    with pytest.raises(InputError) as caught:
        validate_datalist(datalist)
    assert str(caught.value) in {str(finding.error()) for finding in result.findings}
    messages = [str(finding.error()) for finding in result.findings if finding.code == "entry"]
    assert messages == [str(error) for error in refused]


@pytest.mark.parametrize(
    ("cases", "code"),
    [
        (["copied", "copy"], "copy-across-lists"),
        (["linked", "link"], "file-twice"),
        (["patient-a1", "patient-a2"], "patient-across-lists"),
        (["good1"], "case-twice"),
        (["missing-label"], "missing-file"),
        (["zero-byte"], "empty-file"),
        (["loop"], "path"),
        (["image-as-label"], "label-is-image"),
        (["good0", "patient-b1", "patient-b2", "original", "same-voxels-test"], None),
    ],
)
def test_validation_finds_what_needs_no_volume(checked, cases, code):
    path, _, result = checked
    datalist = load_datalist(path, refused=[])
    for name in LISTS:
        datalist[name] = [item for item in datalist[name] if item["case"] in cases]
    if code is None:
        validate_datalist(datalist)
        return
    with pytest.raises(CaseError) as caught:
        validate_datalist(datalist)
    assert caught.value.code == code
    assert str(caught.value) in {str(finding.error()) for finding in result.findings}


def test_label_of_an_unlabeled_case_is_never_opened(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.add("a")
    _, label = folder.add("u", split="unlabeled")
    label.write_bytes(b"not a label")
    folder.lists["unlabeled"][0]["label"] = "labels/u.nii.gz"
    folder.extra["hidden_labels"] = {"u": "labels/u.nii.gz"}
    opened = []
    real = LoadCased.volume
    monkeypatch.setattr(
        LoadCased, "volume", lambda self, paths, name: opened.append(paths) or real(self, paths, name)
    )
    path = folder.write()
    result = check_datalist(path)
    assert [(finding.severity, finding.code) for finding in result.findings] == [("note", "label-ignored")]
    assert [p.name for paths in opened for p in paths] == ["a.nii.gz", "a.nii.gz", "u.nii.gz"]
    assert opened[-1][0].parent.name == "images"
    datalist = load_datalist(path)
    validate_datalist(datalist)
    assert set(LoadCased(["image", "label"])(datalist["unlabeled"][0])) == {"image", "case"}


def test_file_without_permission(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    image, _ = folder.add("a")
    image.chmod(0)
    if os.access(image, os.R_OK):  # root may read anything: let the system say no
        real = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != image and real(path, mode))
    path = folder.write()
    (finding,) = check_datalist(path).findings
    assert finding.code == "permission"
    assert "Permission denied" in finding.fault
    with pytest.raises(CaseError) as caught:
        LoadCased("image")({"image": str(image)})
    assert str(caught.value) == str(finding.error())
    with pytest.raises(CaseError, match="Permission denied"):
        validate_datalist(load_datalist(path))


def test_sound_folder_has_no_finding_and_true_statistics(tmp_path):
    folder = Folder(tmp_path)
    for case, split in (("a", "training"), ("b", "training"), ("c", "test"), ("d", "unlabeled")):
        folder.add(case, split=split)
    folder.extra["classes"] = ["background", "blob"]
    result = check_datalist(folder.write(), roi=(8, 8, 8))
    assert result.findings == ()
    facts = result.statistics
    assert list(facts) == ["training", "unlabeled", "test", "all"]
    assert facts["training"]["cases"] == 2
    for spread, value in zip(facts["all"]["spacing_mm"], (0.7, 0.8, 2.5), strict=True):
        assert spread == pytest.approx({"min": value, "median": value, "max": value})
    assert [spread["max"] for spread in facts["test"]["size"]] == [14, 12, 10]
    means = [float(noise(number).mean()) for number in (1, 2)]
    assert facts["training"]["intensity"]["mean"]["min"] == pytest.approx(min(means), rel=1e-5)
    assert facts["training"]["intensity"]["mean"]["max"] == pytest.approx(max(means), rel=1e-5)
    blob = facts["all"]["class_ml"]["1"]
    assert (blob["name"], blob["cases"]) == ("blob", 3)
    assert blob["median"] == pytest.approx(125 * 0.7 * 0.8 * 2.5 / 1000)
    assert facts["unlabeled"]["labels"] == 0


def test_patient_of_an_item_counts_before_the_table_and_bids_names_without_one(tmp_path):
    folder = Folder(tmp_path)
    folder.add("sub-01_ses-1")
    folder.add("sub-01_ses-2", split="unlabeled")
    folder.add("sub-02", split="test")
    assert check_datalist(folder.write()).findings == ()
    folder.lists["unlabeled"][0]["patient"] = "sub-02"
    (finding,) = check_datalist(folder.write()).findings
    assert finding.code == "patient-across-lists"
    assert "'unlabeled' (case 'sub-01_ses-2') and in 'test' (case 'sub-02')" in finding.fault


def test_known_patient_in_one_list_is_no_near_duplicate(tmp_path):
    folder = Folder(tmp_path)
    axes = np.meshgrid(*(np.linspace(0, n, 30) for n in (5, 7, 4)), indexing="ij")
    smooth = (np.sin(axes[0]) + np.cos(axes[1]) * axes[2]).astype(np.float32)
    folder.add("a", image=smooth)
    folder.add("b", image=smooth * 3 + 1)
    assert [f.code for f in check_datalist(folder.write()).findings] == ["near-duplicate"]
    folder.extra["patients"] = {"a": "one", "b": "one"}
    assert check_datalist(folder.write()).findings == ()


def test_extreme_intensities_and_big_endian_data_are_accepted(tmp_path):
    folder = Folder(tmp_path)
    image = noise(5)
    image[0, 0, 0], image[1, 1, 1] = 3e38, -3e38
    folder.add("a", image=image)
    folder.add("b", image=noise(6).astype(">f4"))
    result = check_datalist(folder.write())
    assert result.findings == ()
    json.dumps(result.statistics, allow_nan=False)


def test_datalist_of_faulty_entries_alone_is_an_error_and_not_a_traceback(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps({"training": [{"image": "a.nii"}, 7], "test": [{"case": "x"}]}))
    result = check_datalist(path)
    assert [finding.code for finding in result.findings] == ["entry"] * 3
    assert result.cases == ()


def test_label_map_is_applied_before_the_classes_are_held_against_it(tmp_path):
    folder = Folder(tmp_path)
    folder.add("a", label=np.full((14, 12, 10), 4, np.uint8))
    path = folder.write()
    assert [finding.code for finding in check_datalist(path, num_classes=2).findings] == [
        "label-range",
        "class-untrained",
    ]
    folder.extra["label_map"] = {"4": 1}
    assert check_datalist(folder.write(), num_classes=2).findings == ()


def test_remedies_of_unknown_ids_erase_no_class(tmp_path):
    """A class that becomes background is lost without a word."""
    folder = Folder(tmp_path)
    label = np.zeros((14, 12, 10), np.int16)
    label[2:5], label[5:8] = 1, 2
    folder.add("a", label=label)
    folder.add("b", label=np.where(label == 2, -1, label))
    result = check_datalist(folder.write(), num_classes=2)
    remedies = {f.code: f.remedy for f in result.findings if f.severity == "error"}
    assert remedies.keys() == {"label-range", "label-negative"}
    assert "ask for 3 classes" in remedies["label-range"]
    assert '"label_map": {"2": 1}' in remedies["label-range"]
    assert '"label_map": {"-1": 255}' in remedies["label-negative"]
    folder.extra["label_map"] = {"-1": 255}
    assert check_datalist(folder.write(), num_classes=3).count("error") == 0


@pytest.mark.parametrize("num_classes", [None, 2])
def test_two_classes_stored_as_0_and_255_are_an_error_with_the_map(tmp_path, num_classes):
    folder = Folder(tmp_path)
    for number, split in enumerate(("training", "training", "validation")):
        image = noise(number)
        folder.add(
            str(number), image=image, label=np.where(image > 130, 255, 0).astype(np.uint8), split=split
        )
    errors = [
        f for f in check_datalist(folder.write(), num_classes=num_classes).findings if f.severity == "error"
    ]
    assert [(f.code, f.split) for f in errors] == [("label-0-255", "training")]
    assert all('{"255": 1}' in f.remedy for f in errors)
    folder.extra["label_map"] = {"255": 1}
    assert check_datalist(folder.write(), num_classes=num_classes).findings == ()


def test_a_class_that_no_labelled_case_shows_is_an_error_unless_it_is_meant(tmp_path):
    folder = Folder(tmp_path)
    folder.add("a")
    folder.add("b", label=np.full((14, 12, 10), 2, np.uint8), split="test")
    path = folder.write()
    (error,) = (f for f in check_datalist(path, num_classes=5).findings if f.severity == "error")
    assert (error.code, error.where) == ("class-untrained", "list 'training'")
    assert "no label shows classes 2, 3, 4" in error.fault
    assert "ask for 2 classes" in error.remedy
    assert check_datalist(path, num_classes=5, allow_absent_classes=True).count("error") == 0
    # Without a number of classes those of all lists together are expected.
    assert [f.code for f in check_datalist(path).findings] == ["class-untrained", "class-absent"]


def test_withdrawn_repeats_of_the_pancreas_split_are_said_with_their_list(tmp_path):
    folder = Folder(tmp_path)
    for case, split in (("image0001", "training"), ("image0070", "unlabeled"), ("image0025", "test")):
        folder.add(case, split=split)
    withdrawn = [f for f in check_datalist(folder.write()).findings if f.code == "withdrawn"]
    assert {(f.case, f.split, f.severity) for f in withdrawn} == {
        ("image0070", "unlabeled", "warning"),
        ("image0025", "test", "warning"),
    }
    assert "'test'" in next(f.fault for f in withdrawn if f.case == "image0025")
    folder.add("someone", split="unlabeled")  # no longer this split, unless the datalist says so
    assert not any(f.code == "withdrawn" for f in check_datalist(folder.write()).findings)
    folder.extra["name"] = "pancreas_ct"
    assert sum(f.code == "withdrawn" for f in check_datalist(folder.write()).findings) == 2


@pytest.mark.parametrize(
    "content",
    [
        '{"training": [{"image": "a"},,]}',
        '{"training": [], "training": []}',
        '{"training": [{"image": "a", "image": "b", "label": "c"}]}',
        "[" * 100_000,
        '{"training": 3}',
    ],
)
def test_datalist_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "d.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        check_datalist(path)
    assert caught.value.where.startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argument", [{"jobs": 0}, {"num_classes": 1}, {"roi": (8, 8)}, {"roi": (8, 8, 0)}])
def test_argument_out_of_range_is_refused(tmp_path, argument):
    path = tmp_path / "d.json"
    path.write_text(json.dumps({"training": [{"image": "a.nii", "label": "b.nii"}]}))
    with pytest.raises(InputError):
        check_datalist(path, **argument)


def test_warnings_pass_and_errors_do_not():
    warning = Finding("small", "a", "is small", "pad it")
    refuse([warning])
    with pytest.raises(CaseError) as caught:
        refuse([warning, Finding("constant", "a", "is constant", "leave it out")])
    assert caught.value.code == "constant"
    with pytest.raises(ValueError, match="'smal'"):
        Finding("smal", "a", "b", "c")


def test_every_code_is_found_by_these_tests(checked):
    elsewhere = {
        "permission",
        "unlabeled-keys",
        "withdrawn",
        "too-bright",
        "class-absent",
        "class-untrained",
        "label-0-255",
    }
    assert {finding.code for finding in checked[2].findings} | elsewhere == set(CODES)
