"""The strong view against Pillow, colorsys and scipy."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter
from scipy import ndimage

from medssl.common.errors import InputError
from medssl.data import StrongImageViewd
from medssl.data.batches.image_colors import (
    ColorDraw,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    gaussian_blur,
    grey,
    recolored,
)

LEVEL = 1 / 255


def photograph(size=(20, 31), channels=3, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 256, (channels, *size), dtype=np.uint8)
    return torch.from_numpy(drawn).float() / 255


def pillow(image):
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())


def values(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("factor", [0.5, 0.83, 1.0, 1.5])
@pytest.mark.parametrize(
    ("adjust", "enhance"),
    [
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    ],
)
def test_jitters_are_those_of_pillow_up_to_its_rounding(adjust, enhance, factor):
    image = photograph()
    expected = values(enhance(pillow(image)).enhance(factor))
    assert (adjust(image, factor) - expected).abs().max() <= 2.01 * LEVEL


@pytest.mark.parametrize("shift", [-0.25, -0.1, 0.0, 0.07, 0.25, 0.5])
def test_hue_is_that_of_the_hexcone(shift):
    """Grey, black, white and pixels with two equal channels among them."""
    image = photograph((6, 7))
    image[:, 0, :5] = torch.tensor([[0, 1, 0.5, 0.5, 0.2], [0, 1, 0.5, 0.5, 0.7], [0, 1, 0.5, 0.1, 0.7]])
    turned = adjust_hue(image, shift)
    for pixel, expected in zip(turned.flatten(1).T, image.flatten(1).T, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*expected.double().tolist())
        wanted = colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)
        np.testing.assert_allclose(pixel.numpy(), wanted, atol=3e-6)
    assert turned.min() >= 0
    assert turned.max() <= 1


def test_hue_is_that_of_pillow_up_to_its_256_hues():
    image = gaussian_blur(photograph(), 1.0) * 0.8 + 0.1
    hue, saturation, value = pillow(image).convert("HSV").split()
    moved = Image.fromarray((np.array(hue).astype(int) + 26).astype(np.uint8))
    expected = values(Image.merge("HSV", (moved, saturation, value)).convert("RGB"))
    assert (adjust_hue(image, 26 / 256) - expected).abs().max() < 4 * LEVEL
    assert (adjust_hue(image, 26 / 256) - expected).abs().mean() < LEVEL


def test_grey_is_pillows_luma():
    image = photograph()
    expected = torch.from_numpy(np.array(pillow(image).convert("L"))).float() / 255
    assert (grey(image)[0] - expected).abs().max() <= LEVEL


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
@pytest.mark.parametrize("size", [(20, 31), (3, 40), (1, 1)])
def test_blur_is_a_gaussian_cut_at_three_deviations(sigma, size):
    image = photograph(size)
    radius = int(np.ceil(3 * sigma))
    expected = ndimage.gaussian_filter(
        image.double().numpy(), (0, sigma, sigma), mode="nearest", radius=radius
    )
    np.testing.assert_allclose(gaussian_blur(image, sigma).numpy(), expected, atol=2e-6)


def test_blur_is_near_that_of_pillow():
    image = gaussian_blur(photograph((60, 60)), 2.0)
    for sigma in (0.5, 1.0, 2.0):
        expected = values(pillow(image).filter(ImageFilter.GaussianBlur(sigma)))
        assert (gaussian_blur(image, sigma) - expected).abs().max() < 6 * LEVEL


def test_draws_are_spread_as_published():
    transform = StrongImageViewd().set_random_state(0)
    draws = [transform.draw() for _ in range(6000)]
    jittered = [draw for draw in draws if draw.jitters]
    assert abs(len(jittered) / 6000 - 0.8) < 0.02
    assert abs(np.mean([draw.grayscale for draw in draws]) - 0.2) < 0.02
    sigmas = np.array([draw.sigma for draw in draws if draw.sigma])
    assert abs(len(sigmas) / 6000 - 0.5) < 0.02
    ranges = {
        "brightness": (0.5, 1.5),
        "contrast": (0.5, 1.5),
        "saturation": (0.5, 1.5),
        "hue": (-0.25, 0.25),
    }
    spreads = {name: np.array([dict(draw.jitters)[name] for draw in jittered]) for name in ranges}
    for drawn, (low, high) in [*((spreads[name], ranges[name]) for name in ranges), (sigmas, (0.1, 2.0))]:
        assert low <= drawn.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < drawn.max() <= high
        assert abs(drawn.mean() - (low + high) / 2) < 0.02 * (high - low)
    orders = {tuple(name for name, _ in draw.jitters) for draw in jittered}
    assert len(orders) == 24


def test_each_part_is_applied_in_the_order_drawn():
    image = photograph()
    draw = ColorDraw((("hue", 0.1), ("contrast", 1.4), ("brightness", 0.6)), grayscale=False, sigma=1.2)
    expected = gaussian_blur(adjust_brightness(adjust_contrast(adjust_hue(image, 0.1), 1.4), 0.6), 1.2)
    assert torch.equal(recolored(image, draw), expected)
    other = ColorDraw((("brightness", 0.6), ("contrast", 1.4), ("hue", 0.1)), grayscale=False, sigma=1.2)
    assert not torch.equal(recolored(image, other), expected)
    grey_view = recolored(image, ColorDraw((), grayscale=True, sigma=0.0))
    assert torch.equal(grey_view, grey(image).repeat(3, 1, 1))


def test_an_image_of_one_channel_keeps_to_brightness_and_contrast():
    image = photograph(channels=1)
    colour = ColorDraw((("hue", 0.2), ("saturation", 1.5)), grayscale=True, sigma=0.0)
    assert torch.equal(recolored(image, colour), image)
    draw = ColorDraw((("contrast", 0.5), ("hue", 0.2)), grayscale=False, sigma=0.0)
    torch.testing.assert_close(recolored(image, draw), (image - image.mean()) * 0.5 + image.mean())


def test_views_stay_in_range_leave_the_image_and_follow_the_seed():
    image = photograph()
    before = image.clone()
    views = []
    for seed in (1, 1, *range(2, 40)):
        view = StrongImageViewd().set_random_state(seed)({"image": image, "case": "a"})
        assert view["case"] == "a"
        views.append(view["image"])
        assert view["image"].dtype == torch.float32
        assert view["image"].shape == image.shape
        assert view["image"].min() >= 0
        assert view["image"].max() <= 1 + 1e-6
    assert torch.equal(image, before)
    assert torch.equal(views[0], views[1])
    assert len({view.sum().item() for view in views}) > 30


@pytest.mark.parametrize(
    "options",
    [{"hue": 0.6}, {"contrast": -0.1}, {"jitter_probability": 1.2}, {"blur_sigma": (2.0, 0.1)}],
)
def test_arguments_that_cannot_be_are_refused_in_one_line(options):
    with pytest.raises(InputError) as refused:
        StrongImageViewd(**options)
    assert "\n" not in str(refused.value)
