import shutil

import pytest

from medssl.common.errors import InputError
from medssl.data import build_datalist, contents_sha256
from medssl.data.preparing.phantom_set import write_phantoms


@pytest.fixture
def folder(tmp_path):
    write_phantoms(tmp_path / "a", cases=4, seed=1, size=(40, 40, 32))
    return tmp_path / "a"


def test_channels_in_files_of_their_own_count_in_their_order(folder):
    datalist = listed(folder)
    item, (other, *_) = datalist["training"][0], datalist["unlabeled"]
    single = contents_sha256(datalist)
    item["image"] = [item["image"], other["image"]]
    both = contents_sha256(datalist)
    item["image"] = item["image"][::-1]
    assert len({single, both, contents_sha256(datalist)}) == 3


def listed(folder, labeled=1):
    return build_datalist(folder, dataset="phantom", labeled=labeled, validation=1, test=1)


def test_it_depends_on_bytes_and_names_and_not_on_place_or_list(folder, tmp_path):
    before = contents_sha256(listed(folder))
    shutil.copytree(folder, tmp_path / "b")
    assert contents_sha256(listed(tmp_path / "b")) == before
    moved = listed(folder)
    moved["validation"], moved["test"] = moved["test"], moved["validation"]
    assert contents_sha256(moved) == before
    label = folder / "labels" / f"{listed(folder)['test'][0]['case']}.nii.gz"
    label.write_bytes(label.read_bytes() + b"\0")
    assert contents_sha256(listed(folder)) != before
    assert contents_sha256(listed(folder), ["training"]) == contents_sha256(
        listed(tmp_path / "b"), ["training"]
    )


def test_labels_that_training_never_sees_do_not_count(folder):
    datalist = listed(folder)
    before = contents_sha256(datalist)
    case = datalist["unlabeled"][0]["case"]
    (folder / "labels" / f"{case}.nii.gz").unlink()
    assert contents_sha256(datalist) == before


def test_a_renamed_case_is_another(folder):
    datalist = listed(folder)
    renamed = {**datalist, "test": [{**datalist["test"][0], "case": "other"}]}
    assert contents_sha256(renamed, ["test"]) != contents_sha256(datalist, ["test"])


def test_a_folder_of_slices_counts_file_by_file(tmp_path):
    (tmp_path / "series").mkdir()
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / "series" / name).write_text(name)
    datalist = {"test": [{"case": "c", "image": str(tmp_path / "series")}]}
    before = contents_sha256(datalist)
    (tmp_path / "series" / "3.dcm").write_text("3")
    assert contents_sha256(datalist) != before


def test_no_case_and_no_file(tmp_path):
    assert contents_sha256({"test": []}, ["test"]) is None
    with pytest.raises(InputError, match="cannot be read"):
        contents_sha256({"test": [{"case": "c", "image": str(tmp_path / "none.nii")}]})
