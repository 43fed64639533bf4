import json
import logging

import pytest

from medssl.common.errors import InputError
from medssl.data import build_datalist, load_datalist, split_sha256, training_datalist, validate_datalist


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


ONE = [{"image": "a.nii.gz", "label": "a_seg.nii.gz"}]


def test_relative_names_start_from_the_file_or_the_base(tmp_path):
    path = write(tmp_path / "d.json", {"training": ONE, "test": ["t.nii.gz"], "name": "mine"})
    datalist = load_datalist(path)
    assert datalist["training"] == [
        {"case": "a", "image": str(tmp_path / "a.nii.gz"), "label": str(tmp_path / "a_seg.nii.gz")}
    ]
    assert datalist["test"] == [{"case": "t", "image": str(tmp_path / "t.nii.gz")}]
    assert datalist["validation"] == datalist["unlabeled"] == []
    assert datalist["name"] == "mine"
    assert load_datalist(path, "/data")["training"][0]["image"] == "/data/a.nii.gz"


def test_labels_of_unlabeled_items_are_dropped(tmp_path, caplog):
    unlabeled = [{"image": "u.nii.gz", "label": "gone.nii.gz", "reference": "r.nii.gz", "roi": [[0, 1]] * 3}]
    path = write(tmp_path / "d.json", {"training": ONE, "unlabeled": unlabeled})
    with caplog.at_level(logging.INFO):
        item = load_datalist(path)["unlabeled"][0]
    assert set(item) == {"case", "image", "roi"}
    assert "1 unlabelled cases" in caplog.text


def test_built_datalist_survives_the_file(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for case in "abcd":
            (tmp_path / folder / f"{case}.nii.gz").touch()
    datalist = build_datalist(tmp_path, dataset="custom", labeled=1, validation=1)
    assert load_datalist(write(tmp_path / "d.json", datalist)) == datalist


def test_the_hash_of_the_split_is_that_of_the_lists_whatever_the_file_claims(tmp_path):
    lists = {"training": ONE, "unlabeled": ["u.nii.gz"], "test": ["t.nii.gz"]}
    expected = split_sha256({"training": ["a"], "unlabeled": ["u"], "test": ["t"]})
    for claim in ({}, {"split_sha256": "0" * 64}, {"split_sha256": None}):
        path = write(tmp_path / "d.json", {**lists, **claim})
        assert load_datalist(path)["split_sha256"] == expected


@pytest.fixture
def listed(tmp_path):
    lists = {"training": ONE, "unlabeled": ["u.nii.gz"]}
    return write(tmp_path / "d.json", lists)


@pytest.mark.parametrize("labeled", [None, 1])
def test_a_datalist_decides_who_is_labelled(listed, labeled):
    datalist = training_datalist(listed, None, dataset="custom", labeled=labeled, default_labeled=4)
    assert datalist == load_datalist(listed)


@pytest.mark.parametrize("labeled", [2, 0.5])
def test_another_labelled_count_beside_a_datalist_is_refused(listed, labeled):
    with pytest.raises(InputError, match=rf"labeled={labeled}: .*d\.json lists 1 labelled case") as caught:
        training_datalist(listed, None, dataset="custom", labeled=labeled)
    assert "\n" not in str(caught.value)


def test_relative_names_of_a_training_start_from_the_file_unless_a_folder_is_given(listed, tmp_path):
    item = training_datalist(listed, None, dataset="custom")["training"][0]
    assert item["image"] == str(tmp_path / "a.nii.gz")
    item = training_datalist(listed, "/data", dataset="custom")["training"][0]
    assert item["image"] == "/data/a.nii.gz"


def test_a_training_without_data_or_without_unlabelled_cases_is_refused(tmp_path):
    with pytest.raises(InputError, match="dataset_dir: is not given"):
        training_datalist(None, None, dataset="custom")
    alone = write(tmp_path / "d.json", {"training": ONE})
    with pytest.raises(InputError, match="lists no unlabelled case"):
        training_datalist(alone, None, dataset="custom")
    assert training_datalist(alone, None, dataset="custom", require_unlabeled=False)["unlabeled"] == []


def test_a_folder_is_split_by_the_split_seed(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for number in range(12):
            (tmp_path / folder / f"case{number:02}.nii.gz").touch()
    drawn, same, other = (
        training_datalist(None, tmp_path, dataset="custom", default_labeled=4, split_seed=seed)
        for seed in (0, 0, 1)
    )
    assert len(drawn["training"]) == 4
    assert drawn["split_sha256"] == same["split_sha256"] != other["split_sha256"]


def test_channels_may_be_a_list_of_files(tmp_path):
    path = write(tmp_path / "d.json", {"training": [{"image": ["t1.nii", "t2.nii"], "label": "l.nii"}]})
    item = load_datalist(path)["training"][0]
    assert item["image"] == [str(tmp_path / "t1.nii"), str(tmp_path / "t2.nii")]


def test_files_of_one_name_get_distinct_cases(tmp_path):
    items = [{"image": f"{site}/00{i}/t1.nii.gz", "label": "l.nii"} for site in "ab" for i in (1, 2)]
    cases = [
        item["case"] for item in load_datalist(write(tmp_path / "d.json", {"training": items}))["training"]
    ]
    assert cases == ["a_001_t1", "a_002_t1", "b_001_t1", "b_002_t1"]


def test_a_set_without_a_list_of_its_own_asks_for_a_datalist(tmp_path):
    with pytest.raises(
        InputError, match=r"'hippocampus': has no list of cases .* give the file as --datalist_file"
    ):
        training_datalist(None, tmp_path, dataset="hippocampus", labeled=4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"training": [\n{"image": "a"},,]}', "not valid JSON.*line 2"),
        ("[]", "has no 'training' list"),
        ({"training": []}, "has no 'training' list"),
        ({"training": {"image": "a"}}, "'training' is not a list"),
        ({"training": ["a.nii"]}, r"training\[0\]: is not an item"),
        ({"training": [{"label": "a.nii"}]}, r"training\[0\]: has no 'image'"),
        ({"training": ONE, "validation": [{"image": "a.nii"}]}, r"validation\[0\]: has no 'label'"),
        ({"training": [{"image": 3, "label": "a.nii"}]}, "'image' is not a file name"),
        ({"training": [{"image": "a.nii", "label": ["a", "b"]}]}, "'label' is not a file name"),
        ({"training": [{"image": "a.nii", "label": "b", "case": 3}]}, "is no name"),
        ({"training": ONE, "hidden_labels": []}, "'hidden_labels' is not a mapping"),
    ],
)
def test_bad_datalist_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        load_datalist(write(tmp_path / "d.json", content))
    assert "\n" not in str(caught.value)


def test_unreadable_datalist_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_datalist(tmp_path / "none.json")
    with pytest.raises(InputError, match="is a folder and no datalist"):
        load_datalist(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        load_datalist(tmp_path / "binary.json")


@pytest.fixture
def valid(tmp_path):
    for name in ("a", "a_seg", "b", "c", "c_seg"):
        (tmp_path / f"{name}.nii").write_text(name)

    def item(name, *keys):
        files = {"image": str(tmp_path / f"{name}.nii"), "label": str(tmp_path / f"{name}_seg.nii")}
        return {"case": name, **{key: files[key] for key in keys}}

    return {
        "training": [item("a", "image", "label")],
        "unlabeled": [item("b", "image")],
        "validation": [],
        "test": [item("c", "image", "label")],
    }


def test_valid_datalist_passes(valid):
    validate_datalist(valid)


def test_case_in_two_lists_is_refused(valid):
    valid["validation"] = [dict(valid["training"][0], image=valid["unlabeled"][0]["image"])]
    with pytest.raises(InputError, match="case 'a': stands in 'training' and in 'validation'"):
        validate_datalist(valid)


def test_one_file_under_two_names_is_refused(valid, tmp_path):
    (tmp_path / "link.nii").symlink_to(tmp_path / "a.nii")
    valid["test"].append({"case": "z", "image": str(tmp_path / "link.nii")})
    with pytest.raises(InputError, match=r"in 'training' and in 'test' \(cases 'a' and 'z'\)"):
        validate_datalist(valid)


def test_missing_file_and_label_on_unlabeled_are_refused(valid, tmp_path):
    (tmp_path / "c_seg.nii").unlink()
    with pytest.raises(InputError, match=r"c_seg\.nii: no such file"):
        validate_datalist(valid)
    valid["unlabeled"][0]["label"] = valid["training"][0]["label"]
    with pytest.raises(InputError, match="is unlabelled but carries"):
        validate_datalist(valid)
