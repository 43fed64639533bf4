from itertools import islice

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, Dataset, MetaTensor, PersistentDataset
from monai.transforms import (
    Compose,
    Flipd,
    NormalizeIntensityd,
    RandGaussianNoised,
    RandRotate90d,
    RandSpatialCropd,
)

from medssl.common.errors import InputError
from medssl.data import LoadCased, SeededDataset, collate_two_stream, two_stream_loader

KEYS = ["image", "label"]


def augmentation():
    both = {"keys": KEYS, "allow_missing_keys": True}
    return Compose(
        [
            RandSpatialCropd(**both, roi_size=(6, 6, 4), random_size=False),
            RandRotate90d(**both, prob=0.75, max_k=3),
            Flipd(**both, spatial_axis=0),
            RandGaussianNoised("image", prob=0.5, std=0.1),
        ]
    )


@pytest.fixture
def items(tmp_path):
    rng = np.random.default_rng(0)
    result = []
    for i in range(7):
        image = rng.normal(size=(10, 9, 5)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"i{i}.nii")
        result.append({"image": str(tmp_path / f"i{i}.nii")})
        if i < 3:
            nib.save(nib.Nifti1Image((image > 0).astype(np.uint8), np.eye(4)), tmp_path / f"l{i}.nii")
            result[i]["label"] = str(tmp_path / f"l{i}.nii")
    return result


def preprocessing():
    return Compose([LoadCased(KEYS), NormalizeIntensityd("image")])


@pytest.fixture
def cached(items):
    return CacheDataset(items, preprocessing(), num_workers=2, progress=False)


def take(loader, count):
    return list(islice(loader, count))


def same(one, two):
    return len(one) == len(two) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(one, two, strict=True)
    )


def test_batch_holds_all_images_and_the_labels_of_the_first_rows(cached):
    batch = take(
        two_stream_loader(cached, num_labeled=3, augmentation=augmentation(), unlabeled_per_batch=3), 1
    )[0]
    assert batch["image"].shape == (5, 1, 6, 6, 4)
    assert batch["label"].shape == (2, 6, 6, 4)
    assert batch["image"].dtype == torch.float32
    assert batch["label"].dtype == torch.int64
    assert not any(isinstance(value, MetaTensor) for value in batch.values())


def test_image_and_label_are_moved_alike(items):
    # The label is image > 0 in the files; without normalisation and noise this holds after augmentation.
    loaded = CacheDataset(items, LoadCased(KEYS), progress=False)
    chain = Compose(augmentation().transforms[:-1])
    for batch in take(two_stream_loader(loaded, num_labeled=3, augmentation=chain), 5):
        assert torch.equal(batch["label"], (batch["image"][:2, 0] > 0).long())


def test_same_batches_with_workers_and_after_resuming(cached):
    def loader(**options):
        return two_stream_loader(cached, num_labeled=3, augmentation=augmentation(), seed=5, **options)

    whole = take(loader(), 8)
    assert same(whole, take(loader(num_workers=2), 8))
    assert same(whole[3:], take(loader(start=3), 5))
    assert same(whole[3:], take(loader(start=3, num_workers=2), 5))
    resumed = loader()
    resumed.batch_sampler.start = 6
    assert same(whole[6:], take(resumed, 2))
    assert not same(
        whole, take(two_stream_loader(cached, num_labeled=3, augmentation=augmentation(), seed=6), 8)
    )


def test_loader_draws_nothing_from_the_global_generator(cached):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    take(two_stream_loader(cached, num_labeled=3, augmentation=augmentation(), num_workers=1), 2)
    assert torch.equal(torch.rand(3), expected)


def test_cache_is_left_as_it_was(cached):
    before = [cached[i]["image"].clone() for i in range(len(cached))]
    take(two_stream_loader(cached, num_labeled=3, augmentation=augmentation()), 6)
    assert all(torch.equal(cached[i]["image"], image) for i, image in enumerate(before))
    assert all(isinstance(cached[i]["image"], MetaTensor) for i in range(len(cached)))


def test_caches_on_disk_and_in_memory_give_the_same_batches(items, cached, tmp_path):
    on_disk = PersistentDataset(items, preprocessing(), cache_dir=tmp_path / "cache")
    batches = [
        take(two_stream_loader(data, num_labeled=3, augmentation=augmentation()), 3)
        for data in (cached, on_disk)
    ]
    assert same(*batches)


def test_supervised_loader_and_no_augmentation(items):
    loaded = CacheDataset(items[:3], LoadCased(KEYS), progress=False)
    batch = take(two_stream_loader(loaded, num_labeled=3, labeled_per_batch=3, unlabeled_per_batch=0), 1)[0]
    assert batch["image"].shape == (3, 1, 10, 9, 5)
    assert batch["label"].shape == (3, 10, 9, 5)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_fault_of_a_file_arrives_as_what_it_is(items, num_workers):
    items[5]["image"] = items[5]["image"].replace("i5", "gone")
    lazy = Dataset(items, preprocessing())
    with pytest.raises(InputError, match=r"gone\.nii: no such file"):
        take(two_stream_loader(lazy, num_labeled=3, num_workers=num_workers), 4)


def row(*, label, shape=(4, 4, 4)):
    return {"image": torch.zeros(1, *shape)} | (
        {"label": torch.zeros(shape, dtype=torch.int64)} if label else {}
    )


def test_label_on_an_unlabeled_row_is_refused():
    for pattern in ((True, False, True), (False, True), (False, False)):
        with pytest.raises(ValueError, match="must come first"):
            collate_two_stream([row(label=label) for label in pattern])
    with pytest.raises(ValueError, match="2 rows may carry a label, got 3"):
        collate_two_stream([row(label=True)] * 3, labeled_rows=2)


def test_loader_refuses_a_cache_that_labels_unlabeled_cases(items):
    for i in (3, 4, 5, 6):
        items[i]["label"] = items[0]["label"]
    loaded = CacheDataset(items, LoadCased(KEYS), progress=False)
    with pytest.raises(ValueError, match="2 rows may carry a label"):
        take(two_stream_loader(loaded, num_labeled=3), 1)


def test_rows_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="crop or pad to one patch size"):
        collate_two_stream([row(label=True), row(label=False, shape=(4, 4, 5))])


def test_augmentation_that_gives_several_crops_is_refused(cached):
    with pytest.raises(ValueError, match="one dictionary, got list"):
        SeededDataset(cached, lambda item: [item])[(0, 0)]


def test_seed_decides_the_draw(cached):
    dataset = SeededDataset(cached, augmentation())
    one, again, other = dataset[(0, 1)], dataset[(0, 1)], dataset[(0, 2)]
    assert torch.equal(one["image"], again["image"])
    assert not torch.equal(one["image"], other["image"])
    assert len(dataset) == 7
