import gzip

import nibabel as nib
import numpy as np
import pytest

from medssl.annotators import MapFolder, as_distribution, map_name, read_map, write_map
from medssl.common.errors import InputError
from tests.places import REAL


def random_probs(shape=(5, 6, 7), seed=0, concentration=0.3):
    generator = np.random.default_rng(seed)
    probs = generator.dirichlet([concentration] * shape[0], shape[1:])
    return np.moveaxis(probs, -1, 0).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 11, 60])
def test_uint8_is_as_exact_as_it_says(tmp_path, classes):
    probs = random_probs((classes, 20, 30))
    write_map(tmp_path / "a.npz", probs)
    read = read_map(tmp_path / "a.npz")
    assert read.dtype == np.float32
    assert (np.abs(read - probs) <= (1 + classes * probs) / (510 - classes) + 1e-6).all()
    np.testing.assert_allclose(read.sum(0), 1, atol=1e-5)
    with np.load(tmp_path / "a.npz") as stored:
        assert stored["probs"].dtype == np.uint8
        assert stored["probs"].max() <= 255


@pytest.mark.parametrize(("precision", "relative"), [("float16", 1.1e-3), ("float32", 1e-6)])
def test_floats_are_kept(tmp_path, precision, relative):
    probs = random_probs()
    write_map(tmp_path / "a.npz", probs, precision=precision)
    np.testing.assert_allclose(read_map(tmp_path / "a.npz"), probs, rtol=relative, atol=1e-6)
    with np.load(tmp_path / "a.npz") as stored:
        assert stored["probs"].dtype == precision


def test_scores_are_scaled_and_silence_is_uniform():
    scores = np.array([[0, 255, 100], [0, 255, 0]], np.uint8)[:, None]
    np.testing.assert_allclose(as_distribution(scores)[:, 0], [[0.5, 0.5, 1], [0.5, 0.5, 0]])
    np.testing.assert_allclose(as_distribution(np.full((4, 2, 2), 0.9)), 0.25)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (np.full((2, 3, 3), 1.5), "holds values from 1.5"),
        (np.full((2, 3, 3), -3.0), "holds values from -3"),
        (np.full((2, 3, 3), np.nan), "holds values from nan"),
        (np.zeros((2, 3, 3), np.int64), "numbers of type int64"),
        (np.zeros((1, 3, 3)), "shape"),
        (np.zeros((3, 3)), "shape"),
        (np.zeros((2, 0, 3)), "shape"),
    ],
)
def test_what_is_no_probability_is_refused(tmp_path, values, fault):
    np.savez(tmp_path / "a.npz", probs=values)
    with pytest.raises(InputError, match=fault) as refusal:
        read_map(tmp_path / "a.npz")
    assert "a.npz" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path):
    write_map(tmp_path / "whole.npz", random_probs())
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    broken = bytearray(content)
    broken[len(content) // 2] ^= 255
    (tmp_path / "flipped.npz").write_bytes(bytes(broken))
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "other.npz", logits=np.zeros(3))
    np.savez(tmp_path / "object.npz", probs=np.array([{}], object))
    np.save(tmp_path / "array.npy", np.zeros((2, 2, 2)))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    (tmp_path / "text.nii.gz").write_text("hello")
    (tmp_path / "empty.nii.gz").write_bytes(gzip.compress(b""))
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), tmp_path / "flat.nii.gz")
    for name in ("cut", "flipped", "text", "empty", "other", "object", "array"):
        with pytest.raises(InputError, match=name) as refusal:
            read_map(tmp_path / f"{name}.npz")
        assert "\n" not in str(refusal.value)
    for name in ("text", "empty", "flat", "absent"):
        with pytest.raises(InputError, match=name) as refusal:
            read_map(tmp_path / f"{name}.nii.gz")
        assert "\n" not in str(refusal.value)


def oblique_scan(path, shape=(6, 5, 4)):
    affine = np.diag([1.2, -0.8, 3, 1]) @ np.array(
        [[0.96, -0.28, 0, 5], [0.28, 0.96, 0, -7], [0, 0, 1, 9], [0, 0, 0, 1]]
    )
    image = nib.Nifti1Image(np.zeros(shape, np.int16), affine)
    image.set_qform(affine, 2)
    image.set_sform(affine, 4)
    image.header["descrip"] = b"patient 7"
    nib.save(image, path)
    return nib.load(path)


@pytest.mark.parametrize("precision", ["uint8", "float16", "float32"])
def test_a_nifti_map_lies_where_its_scan_does(tmp_path, precision):
    scan = oblique_scan(tmp_path / "a.nii.gz")
    probs = random_probs((3, 6, 5, 4))
    (tmp_path / "maps").mkdir()
    path = tmp_path / "maps" / "a.nii.gz"
    write_map(path, probs, precision=precision, scan=tmp_path / "a.nii.gz")
    stored = nib.load(path)
    assert stored.shape == (6, 5, 4, 3)
    assert np.array_equal(stored.affine, scan.affine)
    assert [int(stored.header[name]) for name in ("qform_code", "sform_code")] == [2, 4]
    assert bytes(stored.header["descrip"]).strip(b"\0") == b""
    tolerance = 0.012 if precision == "uint8" else 1e-3
    np.testing.assert_allclose(read_map(path), probs, atol=tolerance)
    assert np.array_equal(MapFolder(tmp_path / "maps").read(tmp_path / "a.nii.gz"), read_map(path))
    again = path.read_bytes()
    write_map(path, probs, precision=precision, scan=tmp_path / "a.nii.gz")
    assert path.read_bytes() == again


def test_a_map_of_other_voxels_is_no_nifti_map_of_the_scan(tmp_path):
    oblique_scan(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="has 6 x 5 x 3 voxels, its scan 6 x 5 x 4"):
        write_map(tmp_path / "b.nii.gz", random_probs((2, 6, 5, 3)), scan=tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="no NIfTI scan"):
        write_map(tmp_path / "b.nii.gz", random_probs((2, 6, 5)))
    assert not (tmp_path / "b.nii.gz").exists()


def test_a_map_may_be_coarser_but_not_elsewhere(tmp_path):
    scan = oblique_scan(tmp_path / "a.nii.gz", (8, 6, 4))
    (tmp_path / "maps").mkdir()
    coarse = scan.affine @ np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1]])
    values = np.zeros((4, 3, 2, 2), np.uint8)
    nib.save(nib.Nifti1Image(values, coarse), tmp_path / "maps" / "a.nii.gz")
    assert MapFolder(tmp_path / "maps").read(tmp_path / "a.nii.gz").shape == (2, 4, 3, 2)
    for wrong in (np.eye(4), scan.affine, coarse @ np.diag([-1, 1, 1, 1])):
        nib.save(nib.Nifti1Image(values, wrong), tmp_path / "maps" / "a.nii.gz")
        with pytest.raises(InputError, match="do not cover the same space"):
            MapFolder(tmp_path / "maps").read(tmp_path / "a.nii.gz")


def test_names_of_maps(tmp_path):
    assert map_name("x/scan.v2.nii.gz") == "scan.v2"
    assert map_name(["x/one_t1.nii.gz", "x/one_t2.nii.gz"]) == "one_t1"
    assert map_name("CASE/mri_norm2.h5") == "CASE"
    (tmp_path / "1.2.840").mkdir()
    assert map_name(tmp_path / "1.2.840") == "1.2.840"


def test_maps_are_found_in_subfolders_and_in_several(tmp_path):
    for folder, name in (("train", "a"), ("val", "b"), ("val", "same"), ("train", "same")):
        write_map(tmp_path / folder / f"{name}.npz", random_probs(seed=len(name) + len(folder)))
    (tmp_path / "val" / ".tmp-1-c.npz").write_bytes(b"half")
    maps = MapFolder(tmp_path)
    assert len(maps) == 4
    assert maps.path("images/val/b.png") == tmp_path / "val" / "b.npz"
    assert maps.path("images/val/same.png") == tmp_path / "val" / "same.npz"
    assert maps.path("images/train/same.png") == tmp_path / "train" / "same.npz"
    assert "x/a.png" in maps
    assert "x/c.png" not in maps
    with pytest.raises(InputError, match="holds 2 maps of the name same"):
        maps.path("images/test/same.png")
    with pytest.raises(InputError, match="holds no map of the image z"):
        maps.path("z.png")
    both = MapFolder([tmp_path / "train", tmp_path / "val"])
    assert both.path("images/val/b.png") == tmp_path / "val" / "b.npz"
    with pytest.raises(InputError, match="has 5 classes, 3 are wanted"):
        MapFolder(tmp_path, num_classes=3).read("a.png")
    (tmp_path / "none").mkdir()
    for path, fault in ((tmp_path / "none", "holds no annotation map"), (tmp_path / "no", "no such folder")):
        with pytest.raises(InputError, match=fault):
            MapFolder(path)


@pytest.mark.real("data/camvid/annotator")
def test_real_maps_are_read():
    maps = MapFolder(REAL / "camvid" / "annotator", num_classes=11)
    assert len(maps) == 468
    image = next(iter(sorted((REAL / "camvid/images/val").iterdir())))
    probs = maps.read(image)
    assert probs.shape == (11, 90, 120)
    np.testing.assert_allclose(probs.sum(0), 1, atol=1e-5)
