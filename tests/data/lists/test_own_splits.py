import json
import os

import h5py
import nibabel as nib
import numpy as np
import pytest

from medssl.common.errors import InputError
from medssl.data import build_own_datalist, load_datalist, validate_datalist
from medssl.data.lists.datalist import LISTS
from medssl.data.lists.own_splits import Patient, draw_patients

SPACING = (1.0, 1.0, 2.0)


def make(folder, volumes, *, unlabeled=()):
    """Cases with labels of so many voxels (None: no label file)."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for case, volume in volumes.items():
        (folder / "images" / f"{case}.nii.gz").write_text(case)  # images are not opened
        if volume is not None:
            label = np.zeros(1000, np.uint8)
            label[:volume] = 1
            stored = nib.Nifti1Image(label.reshape(10, 10, 10), np.diag([*SPACING, 1.0]))
            nib.save(stored, folder / "labels" / f"{case}.nii.gz")
    return folder


def build(folder, **options):
    return build_own_datalist(folder / "images", folder / "labels", **options)


def names(datalist, *keys):
    return [item["case"] for key in keys for item in datalist[key]]


def rank(case):
    """Place of a case of ``forty`` by volume; another order than that of the names."""
    return 17 * int(case[5:7]) % 40


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    cases = [f"scan {n:02d} ü" for n in range(40)]
    return make(tmp_path_factory.mktemp("forty"), {case: 10 * (rank(case) + 1) for case in cases})


def test_shares_become_counts_and_every_case_stands_once(forty, tmp_path):
    datalist = build(forty, labeled=0.1, validation=0.1, test=0.2, seed=1)
    # Of 40 cases 8 are test; a tenth of the other 32 is 3.2.
    assert [len(datalist[key]) for key in LISTS] == [3, 26, 3, 8]
    assert len(set(names(datalist, *LISTS))) == 40
    assert sorted(datalist["hidden_labels"]) == sorted(names(datalist, "unlabeled"))
    assert all(set(item) == {"case", "image"} for item in datalist["unlabeled"])
    validate_datalist(datalist)
    path = tmp_path / "d.json"
    path.write_text(json.dumps(datalist))
    assert load_datalist(path) == datalist


def test_volumes_are_in_millilitres_of_the_foreground(forty):
    datalist = build(forty, labeled=2)
    assert datalist["label_ml"]["scan 00 ü"] == pytest.approx(10 * 2 / 1000)


def test_same_seed_same_split_whatever_the_order_of_the_folder(forty, tmp_path_factory, monkeypatch):
    options = {"labeled": 4, "validation": 4, "test": 8}
    first = build(forty, seed=1, **options)
    listed = os.listdir

    def backwards(path="."):
        return listed(path)[::-1]

    monkeypatch.setattr(os, "listdir", backwards)
    again = build(forty, seed=1, **options)
    monkeypatch.undo()
    assert first == again
    # Written in another order elsewhere: the same cases, other paths.
    other = make(
        tmp_path_factory.mktemp("other"),
        {f"scan {n:02d} ü": 10 * (rank(f"scan {n:02d} ü") + 1) for n in reversed(range(40))},
    )
    moved = build(other, seed=1, **options)
    assert [names(moved, key) for key in LISTS] == [names(first, key) for key in LISTS]
    assert build(forty, seed=2, **options)["split_sha256"] != first["split_sha256"]


def test_every_list_covers_small_and_large_labels(forty):
    for seed in range(6):
        datalist = build(forty, labeled=4, validation=4, test=8, seed=seed)
        for key, count in (("test", 8), ("validation", 4), ("training", 4)):
            ranks = sorted(rank(case) for case in names(datalist, key))
            assert len(ranks) == count
            # One in the smaller and one in the larger third at least; unstratified draws miss it often.
            assert ranks[0] < 14
            assert ranks[-1] > 25
    test = [rank(case) // 5 for case in names(build(forty, test=8, labeled=4, seed=3), "test")]
    assert sorted(test) == list(range(8))  # eight bins of five, one from each


def test_test_and_validation_cases_stay_whatever_is_labeled(forty):
    few, many = (build(forty, labeled=labeled, validation=4, test=8, seed=1) for labeled in (2, 20))
    for key in ("validation", "test"):
        assert few[key] == many[key]


@pytest.mark.slow
def test_the_draw_is_not_the_same_case_of_each_bin(forty):
    drawn = {case for seed in range(10) for case in names(build(forty, labeled=8, seed=seed), "training")}
    assert len(drawn) > 25


def test_only_cases_with_a_label_file_are_labeled(tmp_path):
    make(tmp_path, {f"c{n}": 50 if n in (1, 4, 7) else None for n in range(10)})
    datalist = build(tmp_path, validation=1, seed=5)
    assert set(names(datalist, "training", "validation")) == {"c1", "c4", "c7"}
    assert len(datalist["unlabeled"]) == 7
    assert datalist["hidden_labels"] == {}
    with pytest.raises(InputError, match=r"3 labelled, 1 validation and 0 test cases asked of 3 .*10 in all"):
        build(tmp_path, labeled=3, validation=1)


@pytest.mark.slow
def test_no_patient_stands_on_two_sides(tmp_path):
    rng = np.random.default_rng(0)
    cases = {f"P{p:02d}_{scan}": int(rng.integers(1, 900)) for p in range(15) for scan in range(1 + p % 4)}
    make(tmp_path, cases)
    for seed in range(10):
        datalist = build(tmp_path, labeled=6, validation=5, test=8, seed=seed, group_pattern=r"^(P\d+)")
        sides = [{case[:3] for case in names(datalist, key)} for key in LISTS]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 15
        for key, count in (("training", 6), ("validation", 5), ("test", 8)):
            assert 0 <= count - len(datalist[key]) <= 3
        assert datalist["patients"]["P03_2"] == "P03"


def test_groups_may_come_from_a_table_or_from_bids_names(tmp_path):
    make(tmp_path, {f"sub-{p}_ses-{s}": 10 * p + s for p in range(1, 7) for s in (1, 2)})
    table = tmp_path / "groups.csv"
    rows = [f"sub-{p}_ses-{s},sub-{p}" for p in range(1, 7) for s in (1, 2)]
    table.write_text("case,patient\n" + "\n".join(rows))
    options = {"labeled": 2, "test": 4, "seed": 3}
    assert build(tmp_path, **options) == build(tmp_path, **options, groups=table)
    datalist = build(tmp_path, **options)
    assert len({case[:5] for case in names(datalist, "test")}) == 2


def test_scans_without_label_of_held_out_patients_are_left_out(tmp_path):
    make(tmp_path, {"A_1": 10, "A_2": None, "B_1": 20, "B_2": None, "C_1": 30, "C_2": None})
    datalist = build(tmp_path, labeled=1, test=1, group_pattern="^[A-C]", seed=0)
    (tested,) = names(datalist, "test")
    assert datalist["left_out"] == [f"{tested[0]}_2"]
    assert f"left out: {tested[0]}_2" in datalist["selection"]
    labeled = names(datalist, "training")[0][0]
    assert f"{labeled}_2" in names(datalist, "unlabeled")
    assert not any(case.startswith(tested[0]) for case in names(datalist, "training", "unlabeled"))


def test_a_list_that_patients_cannot_fill_is_said_to_be_short(tmp_path):
    make(tmp_path, {f"{p}_{s}": 10 for p in "ABCD" for s in (1, 2)})
    datalist = build(tmp_path, labeled=2, test=3, group_pattern="^[A-D]")
    assert len(datalist["test"]) == 2
    assert "test: 2 instead of 3" in datalist["selection"]
    datalist = build(tmp_path, labeled=1, test=1, group_pattern="^[A-D]")
    assert len(datalist["test"]) == 2
    assert "test: 2 instead of 1" in datalist["selection"]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("expected", [0, 1, 2, 5, 20, 50])
def test_draw_of_single_scans_gives_as_many_as_wanted(count, expected):
    patients = [Patient(str(n), (None,), (), float(n % 3)) for n in range(count)]
    drawn = draw_patients(patients, expected, np.random.default_rng(0))
    assert len({patient.name for patient in drawn}) == len(drawn) == min(expected, count)


def test_label_map_is_applied_and_written(tmp_path):
    make(tmp_path, {"a": 100, "b": 200, "c": 300})
    datalist = build(tmp_path, labeled=1, label_map={1: 0})
    assert datalist["label_ml"] == {"a": 0, "b": 0, "c": 0}
    assert datalist["label_map"] == {"1": 0}


def test_hdf5_without_a_label_dataset_is_unlabeled(tmp_path):
    for case in "ABC":
        with h5py.File(tmp_path / f"{case}_norm.h5", "w") as file:
            file["image"] = np.zeros((4, 4, 4), np.float32)
            if case != "B":
                file["label"] = np.ones((4, 4, 4), np.uint8)
    datalist = build_own_datalist(tmp_path, labeled=1, h5_spacing=10)
    assert datalist["label_ml"] == {"A": 64.0, "C": 64.0}
    assert "B" in names(datalist, "unlabeled")
    assert "B" not in datalist["hidden_labels"]
    (tmp_path / "D_norm.h5").write_bytes(b"x")
    with pytest.raises(InputError, match="no readable HDF5"):
        build_own_datalist(tmp_path, labeled=1)


def test_bad_folders_and_labels_are_named(tmp_path):
    with pytest.raises(InputError, match="images: no such folder"):
        build(tmp_path, labeled=1)
    make(tmp_path, {"a": 1, "b": 2, "c": 3})
    with pytest.raises(InputError, match="nolabels: no such folder"):
        build_own_datalist(tmp_path / "images", tmp_path / "nolabels", labeled=1)
    for case in "ab":
        (tmp_path / "labels" / f"{case}.nii.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"and 1 more labels have faults.*take the file away"):
        build(tmp_path, labeled=1)
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="no label file bears the name of an image"):
        build(tmp_path, labeled=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no volume"):
        build_own_datalist(tmp_path / "empty", labeled=1)


def test_labels_without_an_image_are_said(tmp_path):
    make(tmp_path, {"a": 1, "b": 2, "c": 3})
    (tmp_path / "images" / "b.nii.gz").unlink()
    assert "labels without an image: b" in build(tmp_path, labeled=1)["selection"]


def test_labels_beside_the_images_are_found(tmp_path):
    make(tmp_path, {"a": 1, "b": 2})
    assert len(build_own_datalist(tmp_path / "images", labeled=1)["training"]) == 1
