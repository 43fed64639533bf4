import json

import nibabel as nib
import numpy as np
import pytest
import yaml
from monai.bundle import ConfigParser

from medssl.common.bundles import find_bundle
from medssl.common.errors import InputError
from medssl.data import LoadCased, add_reference_boxes, load_datalist
from medssl.data.reading.label_map import parse_label_map
from tests.places import CONFIGS

STORED = np.random.default_rng(0).choice([-1, 0, 1, 2, 4], (6, 5, 4)).astype(np.int16)


@pytest.fixture
def path(tmp_path):
    nib.save(nib.Nifti1Image(STORED, np.eye(4)), tmp_path / "l.nii.gz")
    return str(tmp_path / "l.nii.gz")


def test_stored_ids_become_class_ids_all_at_once(path):
    mapping = {"4": 3, -1: 255, "1": 2, "2": 1}
    label = LoadCased("label", label_map=mapping)({"label": path})["label"]
    expected = np.select([STORED == 4, STORED == -1, STORED == 1, STORED == 2], [3, 255, 2, 1], STORED)
    np.testing.assert_array_equal(label[0].numpy(), expected)


def test_a_negative_id_that_is_not_mapped_is_refused(path):
    with pytest.raises(InputError, match="negative id -1, which label_map does not name") as caught:
        LoadCased("label", label_map={4: 3})({"label": path})
    assert caught.value.where == path


@pytest.mark.parametrize(
    "mapping", [{"a": 1}, {"1": "b"}, {"1": -1}, {1: 0.5}, {1: True}, {"1": 2, 1: 3}, [1, 2]]
)
def test_what_is_no_map_of_class_ids_is_refused(mapping):
    with pytest.raises(InputError, match="label_map"):
        LoadCased("label", label_map=mapping)


def test_nothing_is_an_empty_map():
    assert parse_label_map(None) == parse_label_map({}) == {}


def test_datalist_names_the_file_of_a_bad_map(tmp_path):
    path = tmp_path / "d.json"
    training = [{"image": "a.nii", "label": "b.nii"}]
    path.write_text(json.dumps({"training": training, "label_map": {"4": 3}}))
    assert load_datalist(path)["label_map"] == {"4": 3}
    path.write_text(json.dumps({"training": training, "label_map": {"4": "three"}}))
    with pytest.raises(InputError, match=r"d\.json: label_map: '4': 'three' is no pair"):
        load_datalist(path)


def test_reference_boxes_follow_the_map(tmp_path):
    label = np.zeros((8, 8, 8), np.uint8)
    label[1, 1, 1], label[5:7, 5:7, 5:7] = 2, 1
    nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / "l.nii.gz")
    item = {"case": "a", "image": "i.nii.gz", "label": str(tmp_path / "l.nii.gz")}
    datalist = {"training": [item], "label_map": {"2": 0}}
    boxes = add_reference_boxes(datalist, margin_voxels=0, min_size=(1, 1, 1), axes=(0, 1, 2))
    assert boxes["training"][0]["roi"] == [[5, 7]] * 3


def loaders(config):
    """Every LoadCased of a config, wherever it stands."""
    if isinstance(config, dict):
        if config.get("_target_") == "medssl.data.LoadCased":
            yield config
        for value in config.values():
            yield from loaders(value)
    elif isinstance(config, list):
        for value in config:
            yield from loaders(value)


def test_every_loader_of_the_bundle_takes_the_map():
    configs = [
        loader for path in CONFIGS.rglob("*.yaml") for loader in loaders(yaml.safe_load(path.read_text()))
    ]
    assert configs
    assert all(config["label_map"] == "@label_map" for config in configs)


@pytest.mark.parametrize(("override", "expected"), [(None, {4: 3}), ({"2": 1}, {2: 1}), ("$None", {})])
# Pancreas-CT opens the labels, for their boxes.
@pytest.mark.parametrize("overlay", sorted({*find_bundle("tcseg").overlays("datasets")} - {"pancreas_ct"}))
def test_bundle_takes_the_map_of_the_datalist_or_of_the_command_line(tmp_path, overlay, override, expected):
    path = tmp_path / "d.json"
    lists = {"training": [{"image": "a.nii", "label": "b.nii"}], "unlabeled": ["c.nii"]}
    path.write_text(json.dumps({**lists, "label_map": {"4": 3}}))
    parser = ConfigParser()
    parser.read_config([CONFIGS / "train.yaml", CONFIGS / "datasets" / f"{overlay}.yaml"])
    parser["datalist_file"] = str(path)
    if override is not None:
        parser["label_map"] = override
    loader = parser.get_parsed_content("preprocessing")[0]
    assert loader.label_map == expected
