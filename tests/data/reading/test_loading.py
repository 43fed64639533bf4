import gzip

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose

from medssl.common.errors import InputError, find_input_error
from medssl.data import LoadCased

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(12, 10, 8)).astype(np.float32)
LABEL = (IMAGE > 0.5).astype(np.uint8)
AFFINE = np.array([[-0.7, 0.1, 0, 5], [0.1, 0.8, 0, -3], [0, 0, 2.5, 7], [0, 0, 0, 1]])


def nifti(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)
    return str(path)


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return str(path)


def itk(path, array, *, compress=True):
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((4.0, 5.0, 6.0))
    sitk.WriteImage(image, str(path), compress)
    return str(path)


def test_nifti_gives_channel_first_tensors_with_geometry(tmp_path):
    item = LoadCased(["image", "label"])(
        {
            "image": nifti(tmp_path / "i.nii.gz", IMAGE),
            "label": nifti(tmp_path / "l.nii.gz", LABEL),
            "case": "c",
        }
    )
    image, label = item["image"], item["label"]
    assert isinstance(image, MetaTensor)
    assert image.dtype == torch.float32
    assert label.dtype == torch.uint8
    np.testing.assert_array_equal(image[0].numpy(), IMAGE)
    np.testing.assert_array_equal(label[0].numpy(), LABEL)
    assert image.is_contiguous()
    for volume in (image, label):
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
        np.testing.assert_allclose(volume.meta["original_affine"], AFFINE, atol=1e-6)
    assert image.meta["filename_or_obj"] == str(tmp_path / "i.nii.gz")
    assert item["case"] == "c"


def test_unlabeled_item_needs_no_label(tmp_path):
    item = LoadCased(["image", "label"])({"image": nifti(tmp_path / "i.nii", IMAGE)})
    assert "label" not in item


def test_missing_key_raises_where_it_is_not_allowed(tmp_path):
    with pytest.raises(KeyError):
        LoadCased(["image", "label"], allow_missing_keys=False)({"image": nifti(tmp_path / "i.nii", IMAGE)})


def test_hdf5_reads_both_datasets_from_one_file(tmp_path):
    path = hdf5(tmp_path / "mri_norm2.h5", image=IMAGE, label=LABEL)
    item = LoadCased(["image", "label"], h5_spacing=(0.5, 0.6, 0.7))({"image": path, "label": path})
    np.testing.assert_array_equal(item["image"][0].numpy(), IMAGE)
    np.testing.assert_array_equal(item["label"][0].numpy(), LABEL)
    np.testing.assert_allclose(item["label"].affine, np.diag([0.5, 0.6, 0.7, 1]))


@pytest.mark.parametrize("suffix", ["nrrd", "mha"])
def test_itk_formats_agree_with_nifti_written_by_the_same_library(tmp_path, suffix):
    path, twin = itk(tmp_path / f"i.{suffix}", IMAGE), itk(tmp_path / "i.nii.gz", IMAGE)
    ours, nifti_ = (LoadCased("image")({"image": name})["image"] for name in (path, twin))
    np.testing.assert_array_equal(ours.numpy(), nifti_.numpy())
    np.testing.assert_allclose(ours.affine, nifti_.affine, atol=1e-5)
    np.testing.assert_allclose(ours.affine[:3, 3], [-4, -5, 6])


def test_channels_last_axis_and_several_files_become_channels(tmp_path):
    two = np.stack([IMAGE, -IMAGE], axis=-1)
    paths = [nifti(tmp_path / "a.nii", IMAGE), nifti(tmp_path / "b.nii", -IMAGE)]
    nrrd = [itk(tmp_path / "a.nrrd", IMAGE), itk(tmp_path / "b.nrrd", -IMAGE)]
    for source in (nifti(tmp_path / "four.nii.gz", two), paths, nrrd):
        image = LoadCased("image")({"image": source})["image"]
        np.testing.assert_array_equal(image.numpy(), np.stack([IMAGE, -IMAGE]))


def test_vector_nrrd_becomes_channels(tmp_path):
    two = np.stack([IMAGE, -IMAGE], axis=-1)
    image = sitk.GetImageFromArray(two.transpose(2, 1, 0, 3), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "v.nrrd"))
    loaded = LoadCased("image")({"image": str(tmp_path / "v.nrrd")})["image"]
    np.testing.assert_array_equal(loaded.numpy(), two.transpose(3, 0, 1, 2))


def test_float_labels_with_whole_numbers_and_large_ids_are_accepted(tmp_path):
    near = LABEL.astype(np.float32) * np.float32(1.99999)
    assert LoadCased("label")({"label": nifti(tmp_path / "f.nii", near)})["label"].max() == 2
    large = LoadCased("label")({"label": nifti(tmp_path / "i.nii", LABEL.astype(np.int16) * 999)})["label"]
    assert large.dtype == torch.int32
    assert large.max() == 999


def damaged(tmp_path, kind):
    """A file with one fault."""
    good = nifti(tmp_path / "good.nii.gz", IMAGE)
    content = (tmp_path / "good.nii.gz").read_bytes()
    plain, h5 = nifti(tmp_path / "good.nii", IMAGE), hdf5(tmp_path / "good.h5", image=IMAGE)
    del good, plain, h5
    nan = IMAGE.copy()
    nan[0, 0, 0], nan[1, 1, 1] = np.nan, np.inf
    singular = nib.Nifti1Image(IMAGE, None)
    singular.header.set_sform(np.diag([0.0, 1, 1, 1]), 1)
    name = {"text": "x.txt", "folder": "folder.nii.gz"}.get(
        kind, "bad" + kind[kind.index(".") :] if "." in kind else kind
    )
    path = tmp_path / name
    if kind == "truncated.nii.gz":
        path.write_bytes(content[:2000])
    elif kind in ("truncated.nii", "truncated.h5"):
        path.write_bytes((tmp_path / f"good{path.suffix}").read_bytes()[:2000])
    elif kind in ("truncated.nrrd", "truncated.mha"):
        itk(path, IMAGE, compress=False)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "empty.nii.gz":
        path.touch()
    elif kind.startswith("magic."):
        path.write_bytes(b"hello world" * 99)
    elif kind == "zipped-text.nii.gz":
        path.write_bytes(gzip.compress(b"hello world" * 99))
    elif kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("hello")
    elif kind == "nan.nii.gz":
        nifti(path, nan)
    elif kind == "flat.nii.gz":
        nifti(path, IMAGE[:, :, 0])
    elif kind == "slice.nii.gz":
        nifti(path, IMAGE[:, :, :1])
    elif kind == "five.nii.gz":
        nifti(path, np.zeros((5, 5, 5, 2, 2), np.float32))
    elif kind == "singular.nii.gz":
        nib.save(singular, path)
    elif kind == "nodata.h5":
        hdf5(path, img=IMAGE)
    elif kind == "group.h5":
        hdf5(path, **{"image/a": IMAGE})
    elif kind == "colour.nii.gz":
        colour = np.zeros((5, 5, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        nib.save(nib.Nifti1Image(colour, np.eye(4)), path)
    return str(path)


FAULTS = {
    "truncated.nii.gz": "truncated or damaged",
    "truncated.nii": "truncated or damaged",
    "truncated.h5": "truncated or damaged",
    "truncated.nrrd": "truncated or damaged",
    "truncated.mha": "truncated or damaged",
    "empty.nii.gz": "is empty",
    "magic.nii.gz": "not a gzip file",
    "magic.nii": "cannot be read",
    "magic.h5": "file signature not found",
    "magic.nrrd": "cannot be read",
    "magic.mha": "cannot be read",
    "zipped-text.nii.gz": "cannot be read",
    "missing.nii.gz": "no such file",
    "folder": "is a folder",
    "text": "no known format",
    "nan.nii.gz": "1 NaN and 1 infinite of 960 voxels",
    "flat.nii.gz": "not a volume .its shape is 12 x 10",
    "slice.nii.gz": "not a volume",
    "five.nii.gz": "not a volume",
    "singular.nii.gz": "cannot be inverted",
    "nodata.h5": "holds no dataset 'image'",
    "group.h5": "holds no dataset 'image'",
    "colour.nii.gz": "cannot be read",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faulty_image_is_named_in_one_line(tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(InputError, match=FAULTS[kind]) as caught:
        LoadCased("image")({"image": path})
    assert caught.value.where == path
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IMAGE, "not whole numbers"),
        (np.where(LABEL, np.nan, 0).astype(np.float32), "not whole numbers"),
        (-LABEL.astype(np.int16), "negative id -1"),
        (np.stack([LABEL, LABEL], -1), "label with 2 channels"),
    ],
)
def test_faulty_label_is_named(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        LoadCased("label")({"label": nifti(tmp_path / "l.nii.gz", array)})


def moved(by):
    affine = AFFINE.copy()
    affine[0, 3] += by
    return affine


@pytest.mark.parametrize(
    ("label", "affine", "message"),
    [
        (LABEL[:-1], AFFINE, "11 x 10 x 8 voxels, its image i.nii 12 x 10 x 8"),
        (LABEL, moved(1.0), "a corner is 1 mm away"),
        (LABEL, AFFINE @ np.diag([-1.0, 1, 1, 1]), "lies elsewhere"),
        (LABEL, AFFINE @ np.diag([1.0, 1, 1.1, 1]), "lies elsewhere"),
    ],
)
def test_label_on_another_grid_is_named(tmp_path, label, affine, message):
    item = {"image": nifti(tmp_path / "i.nii", IMAGE), "label": nifti(tmp_path / "l.nii", label, affine)}
    with pytest.raises(InputError, match=message) as caught:
        LoadCased(["image", "label"])(item)
    assert caught.value.where == str(tmp_path / "l.nii")


def test_rounding_of_the_affine_is_tolerated(tmp_path):
    item = {"image": nifti(tmp_path / "i.nii", IMAGE), "label": nifti(tmp_path / "l.nii", LABEL, moved(0.01))}
    assert LoadCased(["image", "label"])(item)["label"].shape == (1, 12, 10, 8)


def test_fault_is_found_behind_the_threads_of_a_cache(tmp_path):
    good, bad = nifti(tmp_path / "i.nii", IMAGE), tmp_path / "bad.nii"
    bad.touch()
    items = [{"image": good}, {"image": str(bad)}, {"image": good}]
    with pytest.raises(Exception, match="applying transform") as caught:
        CacheDataset(items, Compose([LoadCased("image")]), num_workers=2, progress=False)
    input_error = find_input_error(caught.value)
    assert input_error is not None
    assert input_error.where == str(bad)
