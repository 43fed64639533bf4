"""Corruptions of natural images, each at five severities: fog and rain by the published equations, and more.

Images are ``(3, H, W)`` in [0, 1]. Fog: Sakaridis et al. 2018 (Foggy Cityscapes). Rain: Hu et al. 2019
(RainCityscapes), with streaks of our own. Both need the distance of every pixel; without a depth map a plane
is taken for it, and the corruption is called ``fog-depth-free`` or ``rain-depth-free``: it is not the
published one.
"""

import io
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.signal import fftconvolve
from torch import Tensor

from medssl.data.corruptions.base import Corruption, by_name, case_generator, find_corruption

DARKEST = 0.001
"""Share of the pixels with the brightest dark channel that the atmospheric light is taken from."""

FOCAL_LENGTH = 1.0

DEPTH_FREE = "-depth-free"
"""What is added to the name of a corruption that lacks the depth map of the published one."""

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
    brightest = np.argsort(dark, axis=None)[-count:]
    pixels = image.reshape(3, -1)[:, brightest]
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
    convolved: Floats = np.maximum(fftconvolve(image, kernel, mode="same"), 0)
    return convolved


def rain(
    image: Floats, depth: Floats, pattern: Floats, *, alpha: float, beta: float, drop: float, strength: float
) -> Floats:
    """``I (1 - R - A) + R + A0 A``: streaks that fade with distance and the haze of what is too far to see.

    ``R`` is the pattern times ``exp(-alpha max(d_M, d))`` with ``d_M = 2 f a``, ``A = 1 - exp(-beta d)``,
    ``A0`` the atmospheric light.
    """
    layer = strength * 0.6 * pattern * np.exp(-alpha * np.maximum(2 * FOCAL_LENGTH * drop, depth))
    haze = 1 - np.exp(-beta * depth)
    layer = np.minimum(layer, 1 - haze)
    light = atmospheric_light(image)[:, None, None]
    rainy: Floats = image * (1 - layer - haze) + layer + light * haze
    return rainy


def _fog(image: Floats, beta: float, depth: Floats, _: np.random.Generator) -> Floats:
    return fog(image, depth, beta)


def _rain(
    image: Floats, settings: tuple[float, float, float, float], depth: Floats, rng: np.random.Generator
) -> Floats:
    pattern = streaks(image.shape[1], image.shape[2], rng)
    alpha, beta, drop, strength = settings
    return rain(image, depth, pattern, alpha=alpha, beta=beta, drop=drop, strength=strength)


def _noise(image: Floats, deviation: float, _: Floats, rng: np.random.Generator) -> Floats:
    noise: Floats = rng.normal(0, deviation, image.shape)
    return image + noise


def _blur(image: Floats, deviation: float, _: Floats, __: np.random.Generator) -> Floats:
    sigma = deviation * image.shape[1] / 360
    blurred: Floats = ndimage.gaussian_filter(image, (0, sigma, sigma))
    return blurred


def _contrast(image: Floats, kept: float, _: Floats, __: np.random.Generator) -> Floats:
    mean = image.mean((1, 2), keepdims=True)
    flat: Floats = mean + (image - mean) * kept
    return flat


def _jpeg(image: Floats, quality: int, _: Floats, __: np.random.Generator) -> Floats:
    pixels = np.round(image.transpose(1, 2, 0) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    compressed: Floats = np.asarray(Image.open(buffer), np.float64).transpose(2, 0, 1) / 255
    return compressed


NATURAL_CORRUPTIONS = by_name(
    # The first three are Foggy Cityscapes' (visibility 600, 300 and 150 m).
    Corruption("fog", "fog", (0.005, 0.01, 0.02, 0.03, 0.06), "attenuation in 1/m", _fog, needs_depth=True),
    # The first three are RainCityscapes' settings of alpha, beta and drop, the others have denser haze.
    Corruption(
        "rain",
        "rain",
        (
            (0.01, 0.005, 0.01, 0.6),
            (0.02, 0.01, 0.005, 0.8),
            (0.03, 0.015, 0.002, 1.0),
            (0.03, 0.02, 0.002, 1.25),
            (0.03, 0.03, 0.002, 1.5),
        ),
        "alpha / beta / drop size / strength of the streaks",
        _rain,
        needs_depth=True,
    ),
    Corruption(
        "noise", "Gaussian noise", (0.04, 0.08, 0.12, 0.18, 0.26), "deviation, the image is in [0, 1]", _noise
    ),
    Corruption(
        "blur", "Gaussian blur", (1.0, 1.5, 2.2, 3.2, 4.5), "deviation in pixels at a height of 360", _blur
    ),
    Corruption("contrast", "low contrast", (0.6, 0.45, 0.32, 0.2, 0.1), "share that is left", _contrast),
    Corruption("jpeg", "JPEG artefacts", (40, 25, 15, 10, 6), "quality", _jpeg),
)
"""Images, ``(3, H, W)`` in [0, 1]; the geometry is the distance ``(H, W)`` to the camera in metres."""


def corruption_title(corruption: str, *, with_depth: bool) -> str:
    """What a report calls a corruption: fog and rain without a depth map are named ``depth-free``.

    Raises:
        InputError: an unknown corruption.
    """
    published = with_depth or not find_corruption(NATURAL_CORRUPTIONS, corruption, 0).needs_depth
    return corruption if published else corruption + DEPTH_FREE


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
        InputError: an unknown corruption, or a severity out of range.
        ValueError: another shape, values outside [0, 1], or a depth that is not positive.
    """
    chosen = find_corruption(NATURAL_CORRUPTIONS, corruption, severity)
    if image.ndim != 3 or len(image) != 3 or not 0 <= float(image.min()) <= float(image.max()) <= 1:
        raise ValueError(f"image must be (3, H, W) in [0, 1], got {tuple(image.shape)}")
    if severity == 0:
        return image.float().clone()
    values = image.double().numpy()
    distances = planar_depth(*values.shape[1:]) if depth is None else depth.double().numpy()
    if distances.shape != values.shape[1:] or not (distances > 0).all():
        raise ValueError(f"depth must be (H, W) and above 0, got {distances.shape}")
    rng = case_generator(seed, corruption, case)
    corrupted: Floats = chosen.apply(values, chosen.amounts[severity - 1], distances, rng)
    return torch.from_numpy(np.clip(corrupted, 0, 1)).float()


class CorruptImaged(MapTransform):  # type: ignore[misc]
    """Corrupt an image as it was loaded, at the size of its file and before all other preprocessing.

    Args:
        keys: key of the image, ``(3, H, W)`` or ``(1, H, W)``, from 0 to white, which is 255, or 65535 where
            a value is above that. The item names its ``case``; its ``depth``, where it has one, is ``(H, W)``
            in metres.
        corruption: a key of :data:`NATURAL_CORRUPTIONS`.
        severity: 0 to 5.
        seed: of the study.
    """

    def __init__(self, keys: KeysCollection, *, corruption: str, severity: int, seed: int = 0) -> None:
        super().__init__(keys)
        self.corruption, self.severity, self.seed = corruption, severity, seed

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Corrupt.

        Raises:
            ValueError: an image of other channels, or a depth that does not fit it.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            values = image.as_tensor()
            white = 255.0 if float(values.max()) <= 255 else 65535.0
            corrupted = corrupt_natural_image(
                (values / white).expand(3, *values.shape[1:]),
                self.corruption,
                self.severity,
                case=str(item["case"]),
                depth=item.get("depth"),
                seed=self.seed,
            )
            item[key] = MetaTensor(corrupted[: len(values)] * white).copy_meta_from(image)
        return item
