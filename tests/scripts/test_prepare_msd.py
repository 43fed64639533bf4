import json

import nibabel as nib
import numpy as np
import pytest

from medssl.data import LoadCased, build_datalist
from tests.scripts.load import script

prepare = script("prepare_msd")
RNG = np.random.default_rng(0)
AFFINE = np.array([[0.8, 0.02, 0, -3], [-0.02, 0.8, 0, 5], [0, 0, 5.0, 7], [0, 0, 0, 1]])


def task(root, name="Task09_Spleen", *, channels=None):
    """An extracted task: three training cases and one test case."""
    folder = root / name
    stem = name.partition("_")[2].lower()
    cases = {"Tr": [f"{stem}_{n:02d}" for n in (2, 3, 10)], "Ts": [f"{stem}_01"]}
    for part, names in cases.items():
        (folder / f"images{part}").mkdir(parents=True)
        for case in names:
            shape = (9, 8, 7) if channels is None else (9, 8, 7, channels)
            image = RNG.normal(size=shape).astype(np.float32)
            nib.save(nib.Nifti1Image(image, AFFINE), folder / f"images{part}" / f"{case}.nii.gz")
    (folder / "labelsTr").mkdir()
    for case in cases["Tr"]:
        label = RNG.integers(0, 3, (9, 8, 7)).astype(np.uint8)
        nib.save(nib.Nifti1Image(label, AFFINE), folder / "labelsTr" / f"{case}.nii.gz")
    record = {
        "name": "Spleen",
        "description": "test",
        "reference": "nobody",
        "licence": "CC-BY-SA 4.0",
        "tensorImageSize": "3D" if channels is None else "4D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "spleen", "2": "lesion"},
        "numTraining": 3,
        "numTest": 1,
        "training": [
            {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"}
            for case in cases["Tr"]
        ],
        "test": [f"./imagesTs/{case}.nii.gz" for case in cases["Ts"]],
    }
    (folder / "dataset.json").write_text(json.dumps(record))
    return folder


def run(tmp_path, *options, name="Task09_Spleen"):
    return prepare.main([str(tmp_path), str(tmp_path / "out"), "--task", name, *options])


def test_task_becomes_images_and_labels_of_the_same_voxels_and_affine(tmp_path):
    folder = task(tmp_path)
    assert run(tmp_path) == 0
    for part, ours in (("imagesTr", "images"), ("labelsTr", "labels"), ("imagesTs", "images")):
        for source in (folder / part).iterdir():
            original, stored = nib.load(source), nib.load(tmp_path / "out" / ours / source.name)
            np.testing.assert_array_equal(np.asarray(stored.dataobj), np.asarray(original.dataobj))
            np.testing.assert_allclose(stored.affine, original.affine, atol=1e-6)
    datalist = build_datalist(tmp_path / "out", dataset="phantom", labeled=1, validation=1)
    assert datalist["classes"] == ["background", "spleen", "lesion"]
    assert [item["case"] for item in datalist["unlabeled"]] == ["spleen_01", "spleen_03"]
    assert list(datalist["hidden_labels"]) == ["spleen_03"]


def test_modalities_stay_channels(tmp_path):
    folder = task(tmp_path, "Task05_Prostate", channels=2)
    assert run(tmp_path, name="Task05_Prostate") == 0
    stored = tmp_path / "out" / "images" / "prostate_02.nii.gz"
    source = np.asarray(nib.load(folder / "imagesTr" / "prostate_02.nii.gz").dataobj)
    np.testing.assert_array_equal(
        LoadCased("image")({"image": str(stored)})["image"].numpy(), np.moveaxis(source, -1, 0)
    )


def test_a_label_on_another_grid_fails_alone(tmp_path, capsys):
    folder = task(tmp_path)
    label = nib.load(folder / "labelsTr" / "spleen_03.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj), np.eye(4)), folder / "labelsTr" / "spleen_03.nii.gz")
    assert run(tmp_path) == 1
    captured = capsys.readouterr()
    assert "3 cases written" in captured.out
    assert "failed: spleen_03" in captured.err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "dataset.json").unlink(), "holds no dataset.json"),
        (lambda folder: (folder / "dataset.json").write_text("{"), "cannot be read as a Decathlon task"),
        (lambda folder: (folder / "dataset.json").write_text("{}"), "cannot be read as a Decathlon task"),
    ],
)
def test_a_broken_task_ends_with_one_line(tmp_path, capsys, damage, message):
    damage(task(tmp_path))
    assert run(tmp_path) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_an_unknown_task_suggests_the_nearest(tmp_path, capsys):
    assert run(tmp_path, name="Task09_Spleeen") == 2
    assert "did you mean 'Task09_Spleen'" in capsys.readouterr().err
    assert run(tmp_path, name="Task09_Spleen") == 2
    assert "--download" in capsys.readouterr().err
