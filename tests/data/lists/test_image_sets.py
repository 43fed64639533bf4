"""Datalists of published sets of images: who is labelled, and where the files lie."""

import json

import numpy as np
import pytest
from PIL import Image

from medssl.cli import main
from medssl.common.errors import InputError
from medssl.data import build_datalist, read_split, training_datalist
from medssl.data.lists.datalist import LISTS
from medssl.data.lists.image_sets import labeled_cases
from tests.places import REAL

VOC, CAMVID = read_split("pascal_voc"), read_split("camvid")


def put(folder, cases, part="", *, labels=True):
    for case in cases:
        image = folder / "images" / part / f"{case}.jpg"
        label = folder / "labels" / part / f"{case}.png"
        for path in (image, label) if labels else (image,):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)


@pytest.fixture
def camvid(tmp_path):
    """The whole set by name, in folders train and val, with one image for testing."""
    put(tmp_path, CAMVID.training, "train")
    put(tmp_path, CAMVID.validation, "val")
    put(tmp_path, ["seq05"], "test")
    return tmp_path


@pytest.mark.parametrize("labeled", ["1/16", "1_16", 23, "23", 0.0625])
def test_a_subset_is_labelled_by_its_name_its_size_or_its_share(camvid, labeled):
    datalist = build_datalist(camvid, dataset="camvid", labeled=labeled)
    assert [item["case"] for item in datalist["training"]] == list(CAMVID.training[:23])
    assert [item["case"] for item in datalist["unlabeled"]] == list(CAMVID.training[23:])
    assert [item["case"] for item in datalist["validation"]] == list(CAMVID.validation)
    assert [item["case"] for item in datalist["test"]] == ["seq05"]
    assert set(datalist["hidden_labels"]) == set(CAMVID.training[23:])
    assert datalist["classes"] == list(CAMVID.classes)
    assert all("label" not in item for item in datalist["unlabeled"])


def test_subsets_of_camvid_are_nested_and_come_from_the_stated_seed():
    names = sorted(CAMVID.training)
    order = np.random.default_rng(0).permutation(len(names))
    assert list(CAMVID.training) == [names[index] for index in order]
    counts = {name: len(labeled_cases(CAMVID, name)[1]) for name in CAMVID.labeled_counts}
    assert counts == {"1/16": 23, "1/8": 46, "1/4": 92, "1/2": 184}
    assert all(abs(len(CAMVID.training) / int(name[2:]) - count) <= 0.5 for name, count in counts.items())
    assert not set(CAMVID.training) & set(CAMVID.validation)


def test_published_partitions_are_found_by_name_and_by_size():
    assert labeled_cases(VOC, 92)[1] == VOC.partitions["92"]
    assert labeled_cases(VOC, "blender/662")[1] == VOC.partitions["blender/662"]
    assert labeled_cases(read_split("cityscapes"), 1 / 16)[1] == read_split("cityscapes").partitions["1_16"]
    assert labeled_cases(VOC, None)[1] == VOC.training
    with pytest.raises(InputError, match=r"2 published subsets of .* have 662 images.*blender_u2pl/662"):
        labeled_cases(VOC, 662)
    with pytest.raises(InputError, match=r"no published subsets .* have 100 images"):
        labeled_cases(VOC, 100)
    with pytest.raises(InputError, match="did you mean 'blender/662'"):
        labeled_cases(VOC, "blender/66")
    with pytest.raises(InputError, match="asked of 10582"):
        labeled_cases(VOC, 20000)


def test_without_test_images_the_published_validation_list_is_the_test(camvid):
    for file in [*(camvid / "images" / "test").iterdir(), *(camvid / "labels" / "test").iterdir()]:
        file.unlink()
    datalist = build_datalist(camvid, dataset="camvid", labeled=23)
    assert [item["case"] for item in datalist["test"]] == list(CAMVID.validation)
    assert datalist["validation"] == []
    assert "test: the 101 of the 101 published validation images" in datalist["selection"]


def test_validation_can_be_taken_from_the_unlabelled(camvid):
    datalist = build_datalist(camvid, dataset="camvid", labeled=23, validation=10)
    assert [item["case"] for item in datalist["validation"]] == list(CAMVID.training[-10:])
    assert len(datalist["unlabeled"]) == 367 - 23 - 10


def test_all_that_have_a_mask_are_labelled_without_a_number(tmp_path):
    put(tmp_path, VOC.training[:6])
    put(tmp_path, VOC.training[6:9], labels=False)
    datalist = build_datalist(tmp_path, dataset="voc", labeled=None, allow_missing=True)
    assert [len(datalist[name]) for name in ("training", "unlabeled")] == [6, 3]


def test_missing_images_are_refused_or_said(tmp_path):
    put(tmp_path, CAMVID.training[:30], "train")
    with pytest.raises(InputError, match=r"337 of 367 training images .*prepare_camvid\.py"):
        build_datalist(tmp_path, dataset="camvid", labeled=23)
    datalist = build_datalist(tmp_path, dataset="camvid", labeled=23, allow_missing=True)
    assert "337 training images missing" in datalist["selection"]
    assert len(datalist["unlabeled"]) == 7
    with pytest.raises(InputError, match="holds no image"):
        build_datalist(tmp_path / "images", dataset="camvid", labeled=23)


@pytest.mark.parametrize(
    "options", [{"test": 3}, {"exclude_withdrawn": True}, {"validation": 0.1}, {"validation": 900}]
)
def test_options_that_published_lists_do_not_take_are_refused(camvid, options):
    with pytest.raises(InputError) as refused:
        build_datalist(camvid, dataset="camvid", labeled=23, **options)
    assert "\n" not in str(refused.value)


def test_names_of_subsets_are_of_images_alone(tmp_path):
    with pytest.raises(InputError, match="la has no named subsets"):
        build_datalist(tmp_path, dataset="la", labeled="1/16")


def test_coco_needs_the_lists_of_its_preparation(tmp_path):
    put(tmp_path, ["000000000001", "000000000002"])
    with pytest.raises(InputError, match=r"lists\.json: does not list the images.*prepare_coco"):
        build_datalist(tmp_path, dataset="coco", labeled="1/512")
    lists = {
        "training": ["000000000001", "000000000002"],
        "validation": [],
        "partitions": {"1_512": ["000000000002"]},
    }
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    datalist = build_datalist(tmp_path, dataset="coco", labeled="1/512")
    assert [item["case"] for item in datalist["training"]] == ["000000000002"]


def test_one_name_in_two_folders_is_refused(camvid):
    put(camvid, CAMVID.training[:1], "val")
    with pytest.raises(InputError, match="bears the name of"):
        build_datalist(camvid, dataset="camvid", labeled=23)


def test_the_command_and_a_training_take_the_same_list(camvid, tmp_path, capsys):
    out = tmp_path / "d.json"
    command = ["datalist", "--dataset", "camvid", "--data", str(camvid), "--out", str(out)]
    assert main([*command, "--labeled", "1/8"]) == 0
    assert "the published subset 1/8, 46 images" in capsys.readouterr().out
    listed = json.loads(out.read_text())
    trained = training_datalist(None, camvid, dataset="camvid", default_labeled="1/8")
    assert listed["split_sha256"] == trained["split_sha256"]
    assert main([*command, "--overwrite", "--labeled", "1/9"]) == 2
    assert "did you mean" in capsys.readouterr().err
    own = ["datalist", "--images", str(camvid / "images" / "train"), "--out", str(out), "--overwrite"]
    assert main([*own, "--labeled", "1/8"]) == 2


@pytest.mark.real("data/camvid")
def test_camvid_as_it_lies_needs_no_preparation():
    datalist = build_datalist(REAL / "camvid", dataset="camvid", labeled="1/16")
    assert [len(datalist[name]) for name in LISTS] == [23, 344, 0, 101]
    shown = {k for item in datalist["training"] for k in np.unique(np.asarray(Image.open(item["label"])))}
    assert shown == {*range(11), 255}
