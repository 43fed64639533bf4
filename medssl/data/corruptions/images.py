"""Corruptions of natural images, each at five severities: fog and rain by the published equations, and more.

Images are ``(3, H, W)`` in [0, 1]. Fog: Sakaridis et al. 2018 (Foggy Cityscapes). Rain: Hu et al. 2019
(RainCityscapes), with streaks made here. Both need the distance of every pixel; without a depth map a plane
is taken for it, and the corruption is called ``fog-depth-free`` or ``rain-depth-free``: it is not the
published one.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.signal import fftconvolve
from torch import Tensor

from medssl.common.draws import generator
from medssl.common.errors import InputError, unknown_name

SEVERITIES = (1, 2, 3, 4, 5)
DARKEST = 0.001
"""Share of the pixels with the brightest dark channel that the atmospheric light is taken from."""

FOG_BETA = (0.005, 0.01, 0.02, 0.03, 0.06)
"""Attenuation in 1/m; the first three are Foggy Cityscapes' (visibility 600, 300 and 150 m)."""

RAIN = (
    (0.01, 0.005, 0.01),
    (0.02, 0.01, 0.005),
    (0.03, 0.015, 0.002),
    (0.03, 0.02, 0.002),
    (0.03, 0.03, 0.002),
)
"""alpha, beta and drop size a; the first three are RainCityscapes' settings, the others have denser haze."""

FOCAL_LENGTH = 1.0
RAIN_AMOUNT = (0.6, 0.8, 1.0, 1.25, 1.5)

Floats = NDArray[np.float64]


def planar_depth(height: int, width: int, *, nearest: float = 5.0, farthest: float = 80.0) -> Floats:
    """Distances in metres of a flat ground under a horizon two fifths from the top, and of a wall above it.

    Joined by the sum of their inverses, so that no edge shows at the horizon.

    Args:
        height: pixels.
        width: pixels.
        nearest: distance of the ground at the lower border, without the wall.
        farthest: distance of the wall.
    """
    below = (np.arange(height) + 0.5) / height - 0.4
    inverse = np.maximum(below, 0) / (nearest * 0.6) + 1 / farthest
    depth: Floats = np.repeat((1 / inverse)[:, None], width, axis=1)
    return depth


def atmospheric_light(image: Floats) -> Floats:
    """Colour ``(3,)`` of the brightest pixel among those with the brightest dark channel (He et al. 2009)."""
    dark = ndimage.minimum_filter(image.min(0), size=15)
    count = max(1, round(DARKEST * dark.size))
    among = np.argsort(dark, axis=None)[-count:]
    pixels = image.reshape(3, -1)[:, among]
    light: Floats = pixels[:, pixels.sum(0).argmax()]
    return light


def fog(image: Floats, depth: Floats, beta: float) -> Floats:
    """``I t + L (1 - t)`` with ``t = exp(-beta l)``: ``l`` is the distance to the camera in metres."""
    transmission = np.exp(-beta * depth)
    light = atmospheric_light(image)[:, None, None]
    hazy: Floats = image * transmission + light * (1 - transmission)
    return hazy


def streaks(height: int, width: int, rng: np.random.Generator) -> Floats:
    """A pattern of rain in [0, 1]: sparse bright drops, smeared along one direction."""
    angle = np.deg2rad(rng.uniform(-15, 15))
    total = np.zeros((height, width))
    for share, length, thickness in ((0.004, 0.06, 0.7), (0.002, 0.11, 1.0)):
        drops = (rng.random((height, width)) < share) * rng.uniform(0.5, 1, (height, width))
        reach = max(3, round(length * height))
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
        along = np.linspace(-reach / 2, reach / 2, 4 * reach)
        rows = np.round(reach + along * np.cos(angle)).astype(int)
        columns = np.round(reach + along * np.sin(angle)).astype(int)
        kernel[rows, columns] = 1
        smeared = ndimage.gaussian_filter(_convolve(drops, kernel), thickness)
        total += smeared / max(np.percentile(smeared, 99.7), 1e-9)
    pattern: Floats = np.clip(total, 0, 1)
    return pattern


def _convolve(image: Floats, kernel: Floats) -> Floats:
    made: Floats = np.maximum(fftconvolve(image, kernel, mode="same"), 0)
    return made


def rain(
    image: Floats, depth: Floats, settings: tuple[float, float, float], amount: float, pattern: Floats
) -> Floats:
    """``I (1 - R - A) + R + A0 A``: streaks that fade with distance and the haze of what is too far to see.

    ``R`` is the pattern times ``exp(-alpha max(d_M, d))`` with ``d_M = 2 f a``, ``A = 1 - exp(-beta d)``,
    ``A0`` the atmospheric light.
    """
    alpha, beta, drop = settings
    layer = amount * 0.6 * pattern * np.exp(-alpha * np.maximum(2 * FOCAL_LENGTH * drop, depth))
    haze = 1 - np.exp(-beta * depth)
    layer = np.minimum(layer, 1 - haze)
    light = atmospheric_light(image)[:, None, None]
    made: Floats = image * (1 - layer - haze) + layer + light * haze
    return made


def _fog(image: Floats, severity: int, depth: Floats, _: np.random.Generator) -> Floats:
    return fog(image, depth, FOG_BETA[severity - 1])


def _rain(image: Floats, severity: int, depth: Floats, rng: np.random.Generator) -> Floats:
    pattern = streaks(image.shape[1], image.shape[2], rng)
    return rain(image, depth, RAIN[severity - 1], RAIN_AMOUNT[severity - 1], pattern)


def _noise(image: Floats, severity: int, _: Floats, rng: np.random.Generator) -> Floats:
    noise: Floats = rng.normal(0, (0.04, 0.08, 0.12, 0.18, 0.26)[severity - 1], image.shape)
    return image + noise


def _blur(image: Floats, severity: int, _: Floats, __: np.random.Generator) -> Floats:
    sigma = (1.0, 1.5, 2.2, 3.2, 4.5)[severity - 1] * image.shape[1] / 360
    made: Floats = ndimage.gaussian_filter(image, (0, sigma, sigma))
    return made


def _contrast(image: Floats, severity: int, _: Floats, __: np.random.Generator) -> Floats:
    mean = image.mean((1, 2), keepdims=True)
    made: Floats = mean + (image - mean) * (0.6, 0.45, 0.32, 0.2, 0.1)[severity - 1]
    return made


def _jpeg(image: Floats, severity: int, _: Floats, __: np.random.Generator) -> Floats:
    pixels = np.round(image.transpose(1, 2, 0) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=(40, 25, 15, 10, 6)[severity - 1])
    made: Floats = np.asarray(Image.open(buffer), np.float64).transpose(2, 0, 1) / 255
    return made


NATURAL_CORRUPTIONS: dict[str, Callable[[Floats, int, Floats, np.random.Generator], Floats]] = {
    "fog": _fog,
    "rain": _rain,
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "jpeg": _jpeg,
}
NEEDS_DEPTH = ("fog", "rain")


def corruption_title(corruption: str, *, with_depth: bool) -> str:
    """What a report calls a corruption: fog and rain without a depth map are named ``depth-free``."""
    return corruption if with_depth or corruption not in NEEDS_DEPTH else f"{corruption}-depth-free"


def corrupt_natural_image(
    image: Tensor, corruption: str, severity: int, *, case: str, depth: Tensor | None = None, seed: int = 0
) -> Tensor:
    """A corrupted copy of an image.

    What is drawn depends on seed, corruption and case alone.

    Args:
        image: ``(3, H, W)`` in [0, 1].
        corruption: a key of :data:`NATURAL_CORRUPTIONS`.
        severity: 0 (a plain copy) to 5.
        case: name of the image.
        depth: ``(H, W)`` distance to the camera in metres; None for the plane of :func:`planar_depth`.
        seed: of the study.

    Returns:
        float32 ``(3, H, W)`` in [0, 1].

    Raises:
        InputError: an unknown corruption, or a severity that there is not.
        ValueError: another shape, values outside [0, 1], or a depth that is not positive.
    """
    if corruption not in NATURAL_CORRUPTIONS:
        raise unknown_name("corruption", corruption, NATURAL_CORRUPTIONS)
    if severity not in (0, *SEVERITIES):
        raise InputError(f"severity {severity}", "not from 0 to 5", "choose one of these")
    if image.ndim != 3 or len(image) != 3 or not 0 <= float(image.min()) <= float(image.max()) <= 1:
        raise ValueError(f"image must be (3, H, W) in [0, 1], got {tuple(image.shape)}")
    if severity == 0:
        return image.float().clone()
    values = image.double().numpy()
    distances = planar_depth(*values.shape[1:]) if depth is None else depth.double().numpy()
    if distances.shape != values.shape[1:] or not (distances > 0).all():
        raise ValueError(f"depth must be (H, W) and above 0, got {distances.shape}")
    rng = generator(f"{seed}/{corruption}/{case}")
    made = NATURAL_CORRUPTIONS[corruption](values, severity, distances, rng)
    return torch.from_numpy(np.clip(made, 0, 1)).float()
