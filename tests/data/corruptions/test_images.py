"""Fog, rain and the other corruptions of natural images."""

import itertools

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from medssl.common.errors import InputError
from medssl.data.corruptions import (
    NATURAL_CORRUPTIONS,
    CorruptImaged,
    corrupt_natural_image,
    corruption_title,
    planar_depth,
)
from medssl.data.corruptions.images import atmospheric_light, fog, rain, streaks
from tests.data.corruptions.draws import draws


@pytest.fixture(scope="module")
def street():
    """A dark street with texture under a bright sky."""
    rng = np.random.default_rng(0)
    image = 0.3 + 0.25 * ndimage.gaussian_filter(rng.normal(size=(3, 90, 120)), (0, 1.5, 1.5)) * 3
    image[:, :30] = 0.85 + 0.02 * rng.normal(size=(3, 30, 120))
    return torch.from_numpy(image.clip(0, 1)).float()


def test_fog_is_the_published_equation_pixel_by_pixel(street):
    image = street.double().numpy()
    depth = np.random.default_rng(1).uniform(1, 400, image.shape[1:])
    light = atmospheric_light(image)
    foggy = fog(image, depth, 0.02)
    for y, x in ((0, 0), (45, 60), (89, 119)):
        t = np.exp(-0.02 * depth[y, x])
        np.testing.assert_allclose(foggy[:, y, x], image[:, y, x] * t + light * (1 - t))
    # Visibility of the published attenuations: 600, 300 and 150 m.
    np.testing.assert_allclose(
        2.996 / np.array(NATURAL_CORRUPTIONS["fog"].amounts[:3]), [599.2, 299.6, 149.8]
    )


def test_rain_is_the_published_equation_pixel_by_pixel(street):
    image = street.double().numpy()
    rng = np.random.default_rng(1)
    depth, pattern = rng.uniform(0.001, 100, image.shape[1:]), rng.random(image.shape[1:])
    alpha, beta, drop = 0.02, 0.01, 0.005
    rainy = rain(image, depth, pattern, alpha=alpha, beta=beta, drop=drop, strength=1.0)
    light = atmospheric_light(image)
    for y, x in ((0, 0), (45, 60), (89, 119)):
        d = depth[y, x]
        haze = 1 - np.exp(-beta * d)
        layer = min(0.6 * pattern[y, x] * np.exp(-alpha * max(2 * drop, d)), 1 - haze)
        expected = image[:, y, x] * (1 - layer - haze) + layer + light * haze
        np.testing.assert_allclose(rainy[:, y, x], expected)


def test_the_light_is_that_of_the_sky(street):
    assert (atmospheric_light(street.double().numpy()) > 0.75).all()


def test_far_pixels_lose_more_contrast_in_fog(street):
    corrupted = corrupt_natural_image(street, "fog", 3, case="a")
    contrast_left = corrupted.std(2).mean(0) / street.std(2).mean(0)
    assert contrast_left[85] > 1.3 * contrast_left[40]


def test_the_plane_is_near_below_and_far_above_without_an_edge():
    depth = planar_depth(200, 4)
    assert (np.diff(depth[:, 0]) <= 0).all()
    assert depth[0, 0] == pytest.approx(80)
    assert depth[-1, 0] < 6
    assert np.abs(np.diff(depth[:, 0])).max() < 12


def test_streaks_are_sparse_and_longer_than_wide():
    pattern = streaks(180, 240, np.random.default_rng(0))
    assert 0.02 < pattern.mean() < 0.4

    def shifted(rows, columns):
        return np.corrcoef(pattern.ravel(), np.roll(pattern, (rows, columns), (0, 1)).ravel())[0, 1]

    assert max(shifted(6, c) for c in range(-2, 3)) > shifted(0, 6) + 0.1


@pytest.mark.parametrize("name", NATURAL_CORRUPTIONS)
def test_damage_grows_and_values_stay_in_range(street, name):
    errors = []
    for severity in range(6):
        corrupted = corrupt_natural_image(street, name, severity, case="a")
        assert corrupted.shape == street.shape
        assert 0 <= float(corrupted.min()) <= float(corrupted.max()) <= 1
        errors.append(float((corrupted - street).square().mean()))
    assert errors[0] == 0
    assert all(less < more for less, more in itertools.pairwise(errors)), errors


@pytest.mark.parametrize("name", NATURAL_CORRUPTIONS)
def test_what_is_drawn_depends_on_seed_and_case(street, name):
    first = corrupt_natural_image(street, name, 3, case="a")
    assert torch.equal(corrupt_natural_image(street, name, 3, case="a"), first)
    others = [
        corrupt_natural_image(street, name, 3, case="b"),
        corrupt_natural_image(street, name, 3, case="a", seed=1),
    ]
    random = draws(NATURAL_CORRUPTIONS[name], street.double().numpy(), planar_depth(*street.shape[1:]))
    assert [not torch.equal(other, first) for other in others] == [random, random]


def test_a_depth_map_makes_it_the_published_corruption(street):
    depth = torch.full(street.shape[1:], 50.0)
    corrupted = corrupt_natural_image(street, "fog", 2, case="a", depth=depth)
    t = np.exp(-0.01 * 50)
    light = torch.from_numpy(atmospheric_light(street.double().numpy())).view(3, 1, 1)
    torch.testing.assert_close(corrupted, (street * t + light * (1 - t)).float().clamp(0, 1))
    assert corruption_title("fog", with_depth=True) == "fog"
    assert corruption_title("fog", with_depth=False) == "fog-depth-free"
    assert corruption_title("noise", with_depth=False) == "noise"


def test_faults(street):
    with pytest.raises(InputError, match="fog"):
        corrupt_natural_image(street, "fogg", 1, case="a")
    with pytest.raises(InputError, match="severity 9"):
        corrupt_natural_image(street, "fog", 9, case="a")
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        corrupt_natural_image(street * 255, "fog", 1, case="a")
    with pytest.raises(ValueError, match="depth"):
        corrupt_natural_image(street, "fog", 1, case="a", depth=torch.zeros(90, 120))


@pytest.mark.parametrize(("channels", "white"), [(3, 255), (1, 255), (3, 65535)])
def test_a_loaded_image_is_corrupted_between_black_and_white(channels, white):
    levels = torch.rand(channels, 12, 17, generator=torch.Generator().manual_seed(3)).mul(white).round()
    levels[0, 0, 0] = white
    image = MetaTensor(levels, meta={"filename_or_obj": "a.png"})
    item = CorruptImaged("image", corruption="noise", severity=2, seed=4)({"image": image, "case": "a"})
    expected = corrupt_natural_image((levels / white).expand(3, 12, 17), "noise", 2, case="a", seed=4)
    torch.testing.assert_close(item["image"].as_tensor(), expected[:channels] * white, atol=0, rtol=0)
    assert item["image"].meta["filename_or_obj"] == "a.png"
    assert not torch.equal(item["image"].as_tensor(), levels)
