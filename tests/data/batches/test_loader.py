from itertools import islice

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, Dataset, MetaTensor, PersistentDataset
from monai.transforms import (
    Compose,
    Flipd,
    Lambdad,
    NormalizeIntensityd,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandRotate90d,
    RandSpatialCropd,
    SpatialPadd,
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


def tensors(batch):
    """Every tensor of a batch by its name."""
    return {name: value for name, value in batch.items() if name != "unlabeled"} | {
        f"unlabeled/{view}": images for view, images in batch["unlabeled"].items()
    }


def same(first, second):
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(map(tensors, first), map(tensors, second), strict=True)
    )


def test_batch_holds_labelled_rows_and_the_weak_view_of_the_others(cached):
    batch = take(
        two_stream_loader(cached, num_labeled=3, augmentation=augmentation(), unlabeled_per_batch=3), 1
    )[0]
    assert {name: tuple(value.shape) for name, value in tensors(batch).items()} == {
        "image": (2, 1, 6, 6, 4),
        "label": (2, 6, 6, 4),
        "unlabeled/weak": (3, 1, 6, 6, 4),
    }
    assert batch["image"].dtype == batch["unlabeled"]["weak"].dtype == torch.float32
    assert batch["label"].dtype == torch.int64
    assert not any(isinstance(value, MetaTensor) for value in tensors(batch).values())


def test_image_and_label_are_moved_alike(items):
    # The label is image > 0 in the files; without normalisation and noise this holds after augmentation.
    loaded = CacheDataset(items, LoadCased(KEYS), progress=False)
    chain = Compose(augmentation().transforms[:-1])
    for batch in take(two_stream_loader(loaded, num_labeled=3, augmentation=chain), 5):
        assert torch.equal(batch["label"], (batch["image"][:, 0] > 0).long())


@pytest.mark.slow
def test_same_batches_with_workers_and_after_resuming(cached):
    def loader(**options):
        return two_stream_loader(cached, num_labeled=3, augmentation=augmentation(), seed=5, **options)

    uninterrupted = take(loader(), 8)
    assert same(uninterrupted, take(loader(num_workers=2), 8))
    assert same(uninterrupted[3:], take(loader(start=3), 5))
    assert same(uninterrupted[3:], take(loader(start=3, num_workers=2), 5))
    resumed = loader()
    resumed.batch_sampler.start = 6
    assert same(uninterrupted[6:], take(resumed, 2))
    assert not same(
        uninterrupted, take(two_stream_loader(cached, num_labeled=3, augmentation=augmentation(), seed=6), 8)
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
    batch = take(two_stream_loader(loaded, num_labeled=3, labeled_per_batch=3, views=()), 1)[0]
    assert batch["image"].shape == (3, 1, 10, 9, 5)
    assert batch["label"].shape == (3, 10, 9, 5)
    assert batch["unlabeled"] == {}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_fault_of_a_file_arrives_as_what_it_is(items, num_workers):
    items[5]["image"] = items[5]["image"].replace("i5", "gone")
    lazy = Dataset(items, preprocessing())
    with pytest.raises(InputError, match=r"gone\.nii: no such file"):
        take(two_stream_loader(lazy, num_labeled=3, num_workers=num_workers), 4)


def row(*, label, shape=(4, 4, 4)):
    image = torch.zeros(1, *shape)
    return {"image": image, "label": torch.zeros(shape, dtype=torch.int64)} if label else {"weak": image}


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
    drawn, again, other = dataset[(0, 1)], dataset[(0, 1)], dataset[(0, 2)]
    assert torch.equal(drawn["image"], again["image"])
    assert not torch.equal(drawn["image"], other["image"])
    assert len(dataset) == 7


VIEWS = ("weak", "strong1", "strong2")


def strong():
    return Compose([RandGaussianNoised("image", prob=1.0, std=0.5), RandAdjustContrastd("image", prob=0.5)])


def with_views(cached, views=VIEWS, **options):
    options = {"augmentation": augmentation(), "strong": strong(), "seed": 5} | options
    return two_stream_loader(cached, num_labeled=3, views=views, **options)


def test_views_are_those_that_are_asked_for_and_no_other(cached):
    for views in (("weak",), ("strong1",), VIEWS):
        batch = take(with_views(cached, views), 1)[0]
        assert tuple(batch["unlabeled"]) == views
        assert all(images.shape == (2, 1, 6, 6, 4) for images in batch["unlabeled"].values())


def test_strong_views_change_the_weak_patch_each_in_its_own_way(cached):
    batches = take(with_views(cached), 6)
    for batch in batches:
        weak, strong1, strong2 = (batch["unlabeled"][view] for view in VIEWS)
        for first, second in ((weak, strong1), (weak, strong2), (strong1, strong2)):
            assert (first != second).flatten(1).any(1).all()
    noise = torch.stack([batch["unlabeled"]["strong1"] - batch["unlabeled"]["weak"] for batch in batches])
    assert len({tuple(row.flatten().tolist()) for row in noise.flatten(0, 1)}) == 12

    shift = Lambdad("image", lambda image: image + 100)
    shifted = take(with_views(cached, ("weak", "strong1"), strong=shift), 1)[0]["unlabeled"]
    assert torch.equal(shifted["strong1"], shifted["weak"] + 100)


def test_a_strong_view_leaves_labelled_rows_and_the_weak_view_as_they_were(cached):
    for plain, batch in zip(take(with_views(cached, ("weak",)), 4), take(with_views(cached), 4), strict=True):
        without_strong = {name: value for name, value in tensors(batch).items() if "strong" not in name}
        assert same([plain], [without_strong | {"unlabeled": {"weak": without_strong.pop("unlabeled/weak")}}])


def test_labelled_rows_have_the_strong_view_where_it_is_asked_for(cached):
    shift = Lambdad("image", lambda image: image + 100)
    plain = take(with_views(cached, ("weak",)), 4)
    for before, batch in zip(
        plain, take(with_views(cached, ("weak",), strong=shift, labeled_view="strong"), 4), strict=True
    ):
        assert torch.equal(batch["image"], before["image"] + 100)
        assert torch.equal(batch["label"], before["label"])
        assert torch.equal(batch["unlabeled"]["weak"], before["unlabeled"]["weak"])
    with pytest.raises(InputError, match="view 'strong': there is no strong augmentation"):
        with_views(cached, ("weak",), strong=None, labeled_view="strong")
    with pytest.raises(InputError, match="view 'stong'"):
        with_views(cached, ("weak",), labeled_view="stong")


@pytest.mark.slow
def test_a_view_is_the_same_whatever_the_workers_the_start_and_the_other_views(cached):
    all_views = take(with_views(cached), 6)
    assert same(all_views, take(with_views(cached, num_workers=2), 6))
    assert same(all_views[4:], take(with_views(cached, start=4), 2))
    alone = take(with_views(cached, ("strong2",)), 6)
    for batch, single in zip(all_views, alone, strict=True):
        assert torch.equal(batch["unlabeled"]["strong2"], single["unlabeled"]["strong2"])
    other = take(with_views(cached, seed=6), 6)
    assert not same(all_views, other)


def test_only_asked_for_views_cost_a_transform(cached):
    calls = []

    def counted(item):
        calls.append(item)
        return item

    take(with_views(cached, ("weak",), strong=counted), 3)
    assert not calls
    take(with_views(cached, ("weak", "strong1"), strong=counted), 3)
    assert len(calls) == 6  # two unlabelled rows, never a labelled one


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": ("weak", "strong1"), "strong": None}, "view 'strong1': there is no strong augmentation"),
        ({"views": ("waek",)}, "did you mean 'weak'"),
        ({"unlabeled_per_batch": 0}, "unlabeled_per_batch=0: the method learns from unlabelled images"),
    ],
)
def test_a_view_that_cannot_be_made_is_refused_in_one_line(cached, options, words):
    with pytest.raises(InputError, match=words) as refused:
        with_views(cached, **{"views": ("weak",)} | options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", [(12, 9, 5), (10, 9, 5)])
def test_valid_marks_padding_where_there_is_any(items, size):
    """Images are 10 x 9 x 5, all above 0 once shifted: padding is what is 0."""
    shifted = CacheDataset(
        items, Compose([LoadCased(KEYS), Lambdad("image", lambda x: x + 50)]), progress=False
    )
    both = {"keys": KEYS, "allow_missing_keys": True}
    chain = Compose([SpatialPadd(**both, spatial_size=size), RandFlipd(**both, prob=0.5, spatial_axis=0)])
    loader = two_stream_loader(shifted, num_labeled=3, augmentation=chain, valid=True)
    plain = two_stream_loader(shifted, num_labeled=3, augmentation=chain)
    for batch, without in zip(take(loader, 4), take(plain, 4), strict=True):
        valid = batch.pop("valid", None)
        assert same([batch], [without])
        if size == (10, 9, 5):
            assert valid is None
        else:
            assert valid.dtype == torch.bool
            assert torch.equal(valid, batch["unlabeled"]["weak"][:, 0] > 0)
            assert 0 < valid.float().mean() < 1


def test_views_of_images_in_2d():
    images = [torch.rand(3, 8, 8) for _ in range(5)]
    cases = [
        {"image": image} | ({"label": image[:1] > 0.5} if i < 2 else {}) for i, image in enumerate(images)
    ]
    crop = RandSpatialCropd(KEYS, roi_size=(5, 5), random_size=False, allow_missing_keys=True)
    loader = two_stream_loader(cases, num_labeled=2, augmentation=crop, views=VIEWS, strong=strong())
    batch = take(loader, 1)[0]
    assert {name: tuple(value.shape) for name, value in tensors(batch).items()} == {
        "image": (2, 3, 5, 5),
        "label": (2, 5, 5),
        **{f"unlabeled/{view}": (2, 3, 5, 5) for view in VIEWS},
    }
