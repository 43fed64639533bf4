import json
from pathlib import Path

import pytest

from medssl.data import read_split, split_names, split_sha256
from medssl.errors import InputError

ROOT = Path(__file__).parents[2]
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


@pytest.mark.parametrize("name", COUNTS)
def test_lists_equal_the_gathered_facts(name):
    facts_file = ROOT.parent / "shared" / "splits" / f"{name}.json"
    if not facts_file.is_file():
        pytest.skip("the gathered split facts are not beside the repository")
    facts, split = json.loads(facts_file.read_text()), read_split(name)
    assert list(split.training) == facts["training"]
    assert list(split.validation) == facts.get("validation", [])
    assert list(split.test) == facts["test"]
    assert dict(split.labeled_counts) == facts["labeled_counts"]
    assert list(split.withdrawn) == facts.get("withdrawn", [])
    stored = json.loads((ROOT / "data_splits" / f"{name}.json").read_text())
    alternative = facts.get("alternative")
    assert (alternative is None) == ("alternatives" not in stored)
    if alternative:
        assert stored["alternatives"]["coranet"] == alternative


def test_every_file_follows_the_schema():
    required = {"schema", "name", "title", "modality", "classes", "data", "source", "note", "labeled_counts"}
    optional = {"training", "validation", "test", "withdrawn", "alternatives"}
    for path in (ROOT / "data_splits").glob("*.json"):
        stored = json.loads(path.read_text())
        assert required <= set(stored) <= required | optional, path.name
        assert stored["name"] == path.stem
        assert stored["schema"] == 1


def test_unknown_split_suggests_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'pancreas_ct'"):
        read_split("pancreas")
    assert set(COUNTS) <= set(split_names())


def test_hash_ignores_order_and_empty_lists_but_not_membership():
    base = split_sha256({"training": ["a", "b"], "test": ["c"]})
    assert base == split_sha256({"test": ["c"], "training": ["b", "a"], "validation": []})
    assert base != split_sha256({"training": ["a"], "unlabeled": ["b"], "test": ["c"]})
    assert len(base) == 64
