from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medssl.common.errors import InputError
from medssl.data import SeededDataset, mirrors_and_turns
from medssl.data.batches.augmentation import SQUARE_KEY


def images_of(scan, draws=120, square=True, **options):
    """How often each image of ``scan`` under the transform is drawn, by its bytes."""
    transform = mirrors_and_turns(patch_size=scan.shape[1:], **options)
    counts = Counter()
    for seed in range(draws):
        transform.set_random_state(seed=seed)
        item = transform({"image": scan.clone(), "label": scan.clone(), SQUARE_KEY: square})
        assert torch.equal(item["image"], item["label"])
        counts[np.ascontiguousarray(item["image"].numpy()).tobytes()] += 1
    return counts


def mirrored(scan, axes):
    return np.ascontiguousarray(scan.numpy()[(slice(None), *(slice(None, None, s) for s in axes))]).tobytes()


@pytest.mark.parametrize(("shape", "kinds"), [((1, 4, 3, 2), 8), ((1, 3, 3, 2), 16)])
def test_random_draws_the_scan_as_it_is_as_often_as_each_of_its_images(shape, kinds):
    scan = torch.arange(float(np.prod(shape))).reshape(shape)
    counts = images_of(scan, draws=400, kind="random")
    assert len(counts) == kinds
    assert counts[scan.numpy().tobytes()] == pytest.approx(400 / kinds, rel=0.6)
    assert min(counts.values()) > 400 / kinds / 3


def test_turns_need_square_voxels():
    scan = torch.arange(18.0).reshape(1, 3, 3, 2)
    assert set(images_of(scan, kind="random", square=False)) == {
        mirrored(scan, axes) for axes in product((1, -1), repeat=3)
    }


def test_flips_are_along_the_chosen_axes_alone():
    scan = torch.arange(24.0).reshape(1, 4, 3, 2)
    assert set(images_of(scan, kind="random", axes=[1])) == {mirrored(scan, (1, s, 1)) for s in (1, -1)}


def test_lateral_classes_keep_left_and_right():
    scan = torch.arange(18.0).reshape(1, 3, 3, 2)
    left_to_right = images_of(scan, kind="random", lateral_classes=True)
    assert set(left_to_right) == {mirrored(scan, (1, *axes)) for axes in product((1, -1), repeat=2)}


def test_lateral_classes_know_the_axis_from_the_orientation():
    scan = torch.arange(18.0).reshape(1, 3, 3, 2)
    drawn = images_of(scan, kind="random", lateral_classes=True, orientation="PIR")
    assert set(drawn) == {mirrored(scan, (*axes, 1)) for axes in product((1, -1), repeat=2)}
    for none in (None, "null"):  # as a command line leaves it
        with pytest.raises(InputError, match="set orientation"):
            mirrors_and_turns("random", patch_size=(3, 3, 2), lateral_classes=True, orientation=none)


def test_the_published_one_draws_the_four_reflections_and_never_the_scan():
    scan = torch.arange(18.0).reshape(1, 3, 3, 2)
    counts = images_of(scan, draws=160, kind="published_rot_flip")
    plane = scan.numpy()
    transposed = plane.swapaxes(1, 2)
    reflections = (plane[:, ::-1], plane[:, :, ::-1], transposed, transposed[:, ::-1, ::-1])
    assert set(counts) == {np.ascontiguousarray(image).tobytes() for image in reflections}
    assert min(counts.values()) > 160 / 4 / 2


def test_none_changes_nothing():
    scan = torch.arange(18.0).reshape(1, 3, 3, 2)
    assert set(images_of(scan, draws=20, kind="none")) == {scan.numpy().tobytes()}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "published_rot_flip", "patch_size": (4, 3, 2)}, "needs a square patch"),
        ({"kind": "published_rot_flip", "patch_size": (3, 3, 2), "lateral_classes": True}, "swaps the sides"),
        ({"kind": "randon", "patch_size": (3, 3, 2)}, "did you mean 'random'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, words):
    with pytest.raises(InputError, match=words):
        mirrors_and_turns(**options)


@pytest.mark.parametrize(("spacing", "kinds"), [((1.5, 1.5, 5.0), 16), ((1.0, 1.5, 1.5), 8)])
def test_a_case_says_whether_its_voxels_are_square(spacing, kinds):
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    scan = MetaTensor(torch.arange(18.0).reshape(1, 3, 3, 2), affine=affine)
    dataset = SeededDataset([{"image": scan}], mirrors_and_turns(kind="random", patch_size=(3, 3, 2)))
    drawn = {dataset[(0, seed)]["weak"].numpy().tobytes() for seed in range(150)}
    assert len(drawn) == kinds
