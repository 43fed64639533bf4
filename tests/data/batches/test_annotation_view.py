"""The view of an annotator's labels, which the augmentation moves as it moves labels."""

from itertools import islice

import pytest
import torch
from monai.transforms import Compose, RandAdjustContrastd, RandSpatialCropd, SpatialPadd

from medssl.common.errors import InputError
from medssl.data import SeededDataset, WeakImageViewd, mirrors_and_turns, two_stream_loader

KEYS = ("image", "label")


def cases(shape, labeled=2, unlabeled=3):
    """Images that say their class, so that what is moved with them can be told."""
    rng = torch.Generator().manual_seed(0)
    result = []
    for number in range(labeled + unlabeled):
        ids = torch.randint(0, 5, (1, *shape), generator=rng, dtype=torch.uint8)
        key = "label" if number < labeled else "annotation"
        result.append({"image": ids.float() + 1, key: ids})
    return result


def augmentation(axes):
    if axes == 2:
        return WeakImageViewd((14, 16), scale_range=(1, 1))
    both = {"keys": KEYS, "allow_missing_keys": True}
    size = (6, 14, 6)
    moved = mirrors_and_turns("random", patch_size=size)
    return Compose([SpatialPadd(**both, spatial_size=size), RandSpatialCropd(**both, roi_size=size), moved])


def loader(axes, **options):
    shape = {2: (12, 20), 3: (8, 10, 9)}[axes]
    return two_stream_loader(
        cases(shape),
        num_labeled=2,
        augmentation=augmentation(axes),
        strong=RandAdjustContrastd("image", prob=1.0),
        unlabeled_per_batch=3,
        seed=4,
        **options,
    )


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("valid", [False, True])
def test_annotation_is_moved_with_its_image(axes, valid):
    views = ("weak", "strong1", "annotation")
    for batch in islice(loader(axes, views=views, valid=valid), 4):
        weak, ids = batch["unlabeled"]["weak"][:, 0], batch["unlabeled"]["annotation"]
        assert ids.dtype == torch.int64
        assert ids.shape == weak.shape
        inside = weak > 0
        assert 0 < (~inside).float().mean() < 0.5
        assert torch.equal(ids[inside], weak[inside].long() - 1)
        assert (ids[~inside] == (255 if axes == 2 else 0)).all()  # as labels are padded
        assert "label" not in batch["unlabeled"]
        if valid:
            assert torch.equal(batch["valid"], inside)


@pytest.mark.parametrize("axes", [2, 3])
def test_other_views_are_the_same_with_and_without_it(axes):
    with_it = islice(loader(axes, views=("weak", "strong1", "annotation"), valid=True), 3)
    without = islice(loader(axes, views=("weak", "strong1"), valid=True), 3)
    for ours, theirs in zip(with_it, without, strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in ("image", "label", "valid"))
        assert all(torch.equal(ours["unlabeled"][v], theirs["unlabeled"][v]) for v in ("weak", "strong1"))
        assert "annotation" not in theirs["unlabeled"]


def test_batches_do_not_depend_on_workers_or_on_where_they_begin():
    views = ("weak", "annotation")
    whole = list(islice(loader(2, views=views), 4))
    again = list(islice(loader(2, views=views, num_workers=2, start=2), 2))
    for ours, theirs in zip(whole[2:], again, strict=True):
        assert all(torch.equal(ours["unlabeled"][view], theirs["unlabeled"][view]) for view in views)


def test_a_labelled_case_may_carry_one_too():
    case = {**cases((12, 20))[0], "annotation": torch.full((1, 12, 20), 3, dtype=torch.uint8)}
    row = SeededDataset([case], augmentation(2), views=("weak", "annotation"))[0, 7]
    assert set(row) == {"image", "label", "annotation"}
    assert set(row["annotation"].unique().tolist()) == {3, 255}
    assert torch.equal(row["annotation"] == 255, row["label"] == 255)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_case_without_a_map_is_refused_in_one_line(num_workers):
    plain = [
        {"image": case["image"], **({"label": case["label"]} if "label" in case else {})}
        for case in cases((12, 20))
    ]
    batches = two_stream_loader(
        plain, num_labeled=2, augmentation=augmentation(2), views=("annotation",), num_workers=num_workers
    )
    with pytest.raises(InputError, match="view 'annotation': there is no annotation map"):
        next(iter(batches))
