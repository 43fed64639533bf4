import json

import pytest

from medssl.common.errors import InputError
from medssl.data import read_split, split_names, split_sha256
from tests.places import ROOT, SHARED

COUNTS = {"la": (80, 0, 20), "pancreas_ct": (62, 0, 20), "brats2019": (250, 25, 60)}


@pytest.mark.parametrize("name", COUNTS)
def test_published_list_sizes_and_no_case_in_two_lists(name):
    split = read_split(name)
    assert (len(split.training), len(split.validation), len(split.test)) == COUNTS[name]
    everyone = [*split.training, *split.validation, *split.test]
    assert len(set(everyone)) == len(everyone)
    assert split.classes[0] == "background"
    assert split.source
    for share, count in split.labeled_counts.items():
        assert round(float(share.rstrip("%")) / 100 * len(split.training)) == count


@pytest.mark.real("splits")
@pytest.mark.parametrize("name", COUNTS)
def test_lists_equal_the_gathered_facts(name):
    facts, split = json.loads((SHARED / "splits" / f"{name}.json").read_text()), read_split(name)
    assert list(split.training) == facts["training"]
    assert list(split.validation) == facts.get("validation", [])
    assert list(split.test) == facts["test"]
    assert dict(split.labeled_counts) == facts["labeled_counts"]
    assert list(split.withdrawn) == facts.get("withdrawn", [])
    assert all(reason for reason in split.withdrawn.values())
    stored = json.loads((ROOT / "data_splits" / f"{name}.json").read_text())
    alternative = facts.get("alternative")
    assert (alternative is None) == ("alternatives" not in stored)
    if alternative:
        assert stored["alternatives"]["coranet"] == alternative


def test_every_file_follows_the_schema():
    table = (ROOT / "data_splits" / "README.md").read_text()
    required = {"schema", "name", "title", "modality", "classes", "data", "source", "note"}
    optional = {"training", "validation", "test", "withdrawn", "alternatives"}
    optional |= {"labeled_counts", "partitions", "sizes"}
    assert all(f"`{key}`" in table for key in required | optional)
    for path in (ROOT / "data_splits").glob("*.json"):
        stored = json.loads(path.read_text())
        assert required <= set(stored) <= required | optional, path.name
        assert stored["name"] == path.stem
        assert f"`{path.name}`" in table
        assert stored["schema"] == 2
        assert "labeled_counts" in stored or "partitions" in stored
        assert path.stat().st_size < 500_000
        assert len(set(stored["classes"])) == len(stored["classes"])


NATURAL = {
    "pascal_voc": (21, 10582, 1449),
    "cityscapes": (19, 2975, 500),
    "ade20k": (150, 20210, 2000),
}


@pytest.mark.real("splits")
@pytest.mark.parametrize("name", NATURAL)
def test_partitions_of_natural_images_equal_the_gathered_facts(name):
    split = read_split(name)
    assert (len(split.classes), len(split.training), len(split.validation)) == NATURAL[name]
    assert not set(split.training) & set(split.validation)
    for key in split.partitions:
        labeled, unlabeled = split.partition(key)
        assert len(set(labeled)) == len(labeled)
        assert {*labeled, *unlabeled} == set(split.training)
        assert len(labeled) + len(unlabeled) == len(split.training)
    facts = json.loads((SHARED / "splits" / f"{name}.json").read_text())
    expected = dict(facts["labeled"])
    for group in ("blender", "blender_u2pl"):
        expected |= {f"{group}/{key}": cases for key, cases in facts.get(f"labeled_{group}", {}).items()}
    assert {key: list(cases) for key, cases in split.partitions.items()} == expected
    for key in ("training", "validation"):
        assert key not in facts or list(getattr(split, key)) == facts[key]


def test_numbered_lists_are_written_out():
    split = read_split("ade20k")
    assert split.training[0] == "ADE_train_00000001"
    assert split.training[-1] == "ADE_train_00020210"
    assert split.validation[-1] == "ADE_val_00002000"


def test_coco_carries_counts_only():
    split = read_split("coco")
    assert (len(split.classes), split.training, split.partitions) == (81, (), {})
    assert split.sizes == {"training": 118287, "validation": 5000}
    assert split.labeled_counts["1_512"] == 232


def test_unknown_partition_suggests_the_nearest():
    with pytest.raises(InputError, match="did you mean '1_16'"):
        read_split("cityscapes").partition("1/16")
    with pytest.raises(InputError, match="split la: carries no partitions"):
        read_split("la").partition("8")


def test_unknown_split_suggests_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'pancreas_ct'"):
        read_split("pancreas")
    assert set(COUNTS) <= set(split_names())


def test_hash_ignores_order_and_empty_lists_but_not_membership():
    base = split_sha256({"training": ["a", "b"], "test": ["c"]})
    assert base == split_sha256({"test": ["c"], "training": ["b", "a"], "validation": []})
    assert base != split_sha256({"training": ["a"], "unlabeled": ["b"], "test": ["c"]})
    assert len(base) == 64
