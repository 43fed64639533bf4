import json
from pathlib import Path

import pytest

from medssl.common.errors import InputError
from medssl.data import build_datalist, list_scans, read_split, validate_datalist
from medssl.data.lists.datalist import LISTS


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def make_folder(folder: Path, cases, *, labels=None, suffix=".nii.gz") -> Path:
    for case in cases:
        touch(folder / "images" / f"{case}{suffix}")
    for case in cases if labels is None else labels:
        touch(folder / "labels" / f"{case}{suffix}")
    return folder


def names(datalist, key):
    return [item["case"] for item in datalist[key]]


def test_la_keeps_the_published_order(tmp_path):
    split = read_split("la")
    make_folder(tmp_path, split.training)
    datalist = build_datalist(tmp_path, dataset="la", labeled=8, validation=5)
    assert names(datalist, "training") == list(split.training[:8])
    assert names(datalist, "unlabeled") == list(split.training[8:75])
    assert names(datalist, "validation") == list(split.training[75:])
    assert datalist["test"] == []
    assert "0 of the 20" in datalist["selection"]
    assert datalist["classes"] == ["background", "left atrium"]
    validate_datalist(datalist)
    json.dumps(datalist)


def test_unlabeled_items_hold_no_label_although_the_files_exist(tmp_path):
    make_folder(tmp_path, read_split("la").training)
    datalist = build_datalist(tmp_path, dataset="la", labeled=8)
    assert all(set(item) == {"case", "image"} for item in datalist["unlabeled"])
    assert sorted(datalist["hidden_labels"]) == sorted(names(datalist, "unlabeled"))


@pytest.mark.parametrize(
    ("dataset", "share", "count"),
    [("la", 0.05, 4), ("la", 0.1, 8), ("pancreas_ct", 0.1, 6), ("pancreas_ct", 0.2, 12)],
)
def test_fraction_gives_the_published_count(tmp_path, dataset, share, count):
    make_folder(tmp_path, read_split(dataset).training)
    assert len(build_datalist(tmp_path, dataset=dataset, labeled=share)["training"]) == count


def test_test_cases_are_used_as_far_as_they_exist(tmp_path):
    split = read_split("la")
    make_folder(tmp_path, (*split.training, *split.test[:3]))
    assert names(build_datalist(tmp_path, dataset="la", labeled=8), "test") == list(split.test[:3])


def test_brats_uses_the_published_validation_list_unless_one_is_asked_for(tmp_path):
    split = read_split("brats2019")
    make_folder(tmp_path, (*split.training, *split.validation))
    published = build_datalist(tmp_path, dataset="brats2019", labeled=25)
    assert names(published, "validation") == list(split.validation)
    assert len(published["unlabeled"]) == 225
    own = build_datalist(tmp_path, dataset="brats2019", labeled=25, validation=10)
    assert names(own, "validation") == list(split.training[-10:])


@pytest.mark.parametrize("form", ["{}/mri_norm2.h5", "{}_norm.h5", "{0}/{0}_norm.h5"])
def test_hdf5_forms_give_one_file_for_image_and_label(tmp_path, form):
    split = read_split("la")
    for case in split.training:
        touch(tmp_path / form.format(case))
    item = build_datalist(tmp_path, dataset="la", labeled=8)["training"][0]
    assert item["image"] == item["label"] == str(tmp_path / form.format(split.training[0]))


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_other_volume_formats_are_found(tmp_path, suffix):
    make_folder(tmp_path, read_split("la").training, suffix=suffix)
    assert build_datalist(tmp_path, dataset="la", labeled=8)["training"][0]["label"].endswith(suffix)


def test_missing_training_cases_are_counted_and_named(tmp_path):
    split = read_split("la")
    make_folder(tmp_path, split.training[:75])
    with pytest.raises(InputError, match=rf"5 of 80 .*{split.training[75]}.* and 2 more"):
        build_datalist(tmp_path, dataset="la", labeled=8)
    part = build_datalist(tmp_path, dataset="la", labeled=8, validation=5, allow_missing=True)
    assert names(part, "validation") == list(split.training[70:75])
    assert "5 training cases missing" in part["selection"]


def test_empty_folder_is_refused_even_where_a_part_would_do(tmp_path):
    with pytest.raises(InputError, match="80 of 80"):
        build_datalist(tmp_path, dataset="la", labeled=8, allow_missing=True)


def test_withdrawn_cases_are_mentioned(tmp_path):
    make_folder(tmp_path, read_split("pancreas_ct").training)
    assert "withdrew" in build_datalist(tmp_path, dataset="pancreas_ct", labeled=6)["selection"]


def test_the_cleaned_pancreas_list_leaves_both_withdrawn_scans_out(tmp_path):
    split = read_split("pancreas_ct")
    make_folder(tmp_path, (*split.training, *split.test))
    published = build_datalist(tmp_path, dataset="pancreas_ct", labeled=12)
    cleaned = build_datalist(tmp_path, dataset="pancreas_ct", labeled=12, exclude_withdrawn=True)
    everyone = {case for key in ("training", "unlabeled", "test") for case in names(cleaned, key)}
    assert everyone == {*split.training, *split.test} - {"image0025", "image0070"}
    assert len(names(cleaned, "test")) == 19
    assert names(cleaned, "training")[:6] == names(published, "training")[:6]
    assert "withdrawn cases left out: image0025, image0070" in cleaned["selection"]
    assert cleaned["split_sha256"] != published["split_sha256"]
    with pytest.raises(InputError, match="no case of la was withdrawn"):
        build_datalist(tmp_path, dataset="la", labeled=8, exclude_withdrawn=True)


def test_labeled_case_without_label_is_refused_but_an_unlabeled_one_is_fine(tmp_path):
    split = read_split("la")
    make_folder(tmp_path, split.training, labels=split.training[:8])
    assert len(build_datalist(tmp_path, dataset="la", labeled=8)["unlabeled"]) == 72
    with pytest.raises(InputError, match="no label file"):
        build_datalist(tmp_path, dataset="la", labeled=9)


def test_phantom_stands_in_order_of_names(tmp_path):
    make_folder(tmp_path, [f"case_{i:02d}" for i in range(10)])
    (tmp_path / "dataset.json").write_text('{"classes": ["background", "organ"]}')
    datalist = build_datalist(tmp_path, dataset="phantom", labeled=2, validation=2, test=1, seed=7)
    assert names(datalist, "training") == ["case_00", "case_01"]
    assert names(datalist, "unlabeled") == [f"case_{i:02d}" for i in range(2, 7)]
    assert names(datalist, "validation") == ["case_07", "case_08"]
    assert names(datalist, "test") == ["case_09"]
    assert datalist["classes"] == ["background", "organ"]


def test_custom_is_shuffled_by_the_seed_and_repeats(tmp_path):
    make_folder(tmp_path, [f"scan {i:02d} ä" for i in range(20)])
    first, again, other = (
        build_datalist(tmp_path, dataset="custom", labeled=0.25, validation=0.25, test=0.2, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first["split_sha256"] != other["split_sha256"]
    assert [len(first[key]) for key in LISTS] == [4, 8, 4, 4]
    everyone = [case for key in LISTS for case in names(first, key)]
    assert len(set(everyone)) == 20


def test_custom_labels_only_cases_that_have_a_label(tmp_path):
    make_folder(tmp_path, [f"c{i}" for i in range(10)], labels=["c3", "c5", "c7"])
    datalist = build_datalist(tmp_path, dataset="custom", labeled=None, validation=1)
    assert len(datalist["training"]) == 2
    assert set(names(datalist, "training") + names(datalist, "validation")) == {"c3", "c5", "c7"}
    assert len(datalist["unlabeled"]) == 7
    with pytest.raises(InputError, match="3 labelled, 1 validation and 0 test cases asked of 3"):
        build_datalist(tmp_path, dataset="custom", labeled=3, validation=1)


def test_all_labeled_needs_the_supervised_flag(tmp_path):
    make_folder(tmp_path, ["a", "b"])
    with pytest.raises(InputError, match="no unlabelled case"):
        build_datalist(tmp_path, dataset="custom", labeled=None)
    assert (
        len(build_datalist(tmp_path, dataset="custom", labeled=None, require_unlabeled=False)["training"])
        == 2
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "custon", "labeled": 1}, "did you mean 'custom'"),
        ({"dataset": "custom", "labeled": 0}, "no labelled training case"),
        ({"dataset": "custom", "labeled": 1.5}, "no fraction"),
        ({"dataset": "custom", "labeled": -1}, "-1 cases asked of 4"),
        ({"dataset": "custom", "labeled": 9}, "9 cases asked of 4"),
        ({"dataset": "custom", "labeled": 2, "validation": 2, "test": 2}, "asked of 4"),
        ({"dataset": "la", "labeled": 1, "test": 1}, "published test list"),
    ],
)
def test_bad_requests_are_refused_in_one_line(tmp_path, options, message):
    make_folder(tmp_path, ["a", "b", "c", "d"])
    with pytest.raises(InputError, match=message) as caught:
        build_datalist(tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_folders_without_matching_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        build_datalist(tmp_path / "nowhere", dataset="custom", labeled=1)
    with pytest.raises(InputError, match="images: no such folder"):
        build_datalist(tmp_path, dataset="custom", labeled=1)
    make_folder(tmp_path, ["a_0000"], labels=["a"])
    with pytest.raises(InputError, match="no label file bears the name of an image"):
        build_datalist(tmp_path, dataset="custom", labeled=1)
    touch(tmp_path / "images" / "a_0000.nrrd")
    with pytest.raises(InputError, match="same case name"):
        build_datalist(tmp_path, dataset="custom", labeled=1)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ('{"1": "organ", "0": "background"}', ["background", "organ"]),
        ('{"0": "background", "5": "organ"}', None),
        ("3", None),
    ],
)
def test_class_names_may_be_a_list_or_go_by_id(tmp_path, classes, expected):
    make_folder(tmp_path, ["a", "b"])
    (tmp_path / "dataset.json").write_text(f'{{"classes": {classes}}}')
    assert build_datalist(tmp_path, dataset="phantom", labeled=1)["classes"] == expected


def test_folders_of_dicom_files_are_cases(tmp_path):
    for case in ("a", "b"):
        touch(tmp_path / "images" / case / "1")
        (tmp_path / "images" / case / "2").write_bytes(bytes(128) + b"DICM")
    touch(tmp_path / "images" / "notes" / "readme")
    touch(tmp_path / "labels" / "a.nii.gz")
    datalist = build_datalist(tmp_path, dataset="phantom", labeled=1)
    assert names(datalist, "training") + names(datalist, "unlabeled") == ["a", "b"]
    assert datalist["training"][0]["image"] == str(tmp_path / "images" / "a")


def test_broken_dataset_json_is_named(tmp_path):
    make_folder(tmp_path, ["a", "b"])
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json: is not valid JSON"):
        build_datalist(tmp_path, dataset="phantom", labeled=1)


def test_lists_the_scans_of_a_data_folder_of_loose_files_and_of_hdf5(tmp_path):
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "b.nii.gz").touch()
    (tmp_path / "set" / "images" / "a.mha").touch()
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "c.nii").touch()
    (tmp_path / "h5" / "D").mkdir(parents=True)
    (tmp_path / "h5" / "D" / "mri_norm2.h5").touch()
    names = {f: [s["case"] for s in list_scans(tmp_path / f)] for f in ("set", "loose", "h5")}
    assert names == {"set": ["a", "b"], "loose": ["c"], "h5": ["D"]}
    assert list_scans(tmp_path / "set", cases=["b"]) == [
        {"case": "b", "image": str(tmp_path / "set" / "images" / "b.nii.gz")}
    ]
    with pytest.raises(InputError, match="case 'bb'"):
        list_scans(tmp_path / "set", cases=["bb"])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no scan"):
        list_scans(tmp_path / "none")


def test_hdf5_files_of_unknown_cases_are_a_custom_data_set(tmp_path):
    for case in "ABCD":
        (tmp_path / case).mkdir()
        (tmp_path / case / "mri_norm2.h5").touch()
    datalist = build_datalist(tmp_path, dataset="custom", labeled=1, validation=1)
    assert [len(datalist[k]) for k in ("training", "unlabeled", "validation")] == [1, 2, 1]
    assert all("label" not in item for item in datalist["unlabeled"])
