"""The strong view of an image: its colours jittered, its colour taken away, or its edges blurred.

MONAI has no colour transforms. Pillow, with which the published code makes these views, kornia and
albumentations were measured (``scripts/benchmark.py views``; the table stands in ``docs/data.md``): the plain
torch below needs no further package, is faster than the first two, and keeps what 8 bits would round.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor
from torch.nn import functional

from medssl.common.errors import InputError

Jitter = Literal["brightness", "contrast", "saturation", "hue"]

LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey (ITU-R 601-2, as Pillow, torchvision and kornia have it)."""


@dataclass(frozen=True)
class ColorDraw:
    """What is drawn for one strong view.

    Attributes:
        jitters: the jitters in the order in which they are applied, with their factor (of hue its shift as a
            share of the circle); empty for none.
        grayscale: whether colour is taken away.
        sigma: of the blur in pixels; 0 for none.
    """

    jitters: tuple[tuple[Jitter, float], ...]
    grayscale: bool
    sigma: float


class StrongImageViewd(Randomizable, MapTransform):  # type: ignore[misc]
    """Colour jitter in random order, grey, Gaussian blur, each by chance.

    The published strong view of FixMatch for segmentation, UniMatch (V1 and V2) and their descendants (Yang
    et al., CVPR 2023, LiheYoung/UniMatch, ``dataset/semi.py``), CutMix aside, which the methods do.
    Definitions are those of torchvision's ``ColorJitter``.

    Input and output: ``image`` float32 ``(C, H, W)`` in [0, 1]. Of an image without three channels only
    brightness and contrast are jittered.

    Args:
        keys: keys to transform.
        brightness: factor is drawn from ``[max(0, 1 - b), 1 + b]``.
        contrast: likewise.
        saturation: likewise.
        hue: shift is drawn from ``[-h, h]``, a share of the circle of hues, at most 0.5.
        jitter_probability: of all four together.
        grayscale_probability: of taking colour away.
        blur_probability: of the blur.
        blur_sigma: range of its deviation in pixels.

    Raises:
        InputError: an amount below 0, a hue above 0.5, a probability or a range that is none.
    """

    def __init__(
        self,
        keys: KeysCollection = ("image",),
        *,
        brightness: float = 0.5,
        contrast: float = 0.5,
        saturation: float = 0.5,
        hue: float = 0.25,
        jitter_probability: float = 0.8,
        grayscale_probability: float = 0.2,
        blur_probability: float = 0.5,
        blur_sigma: Sequence[float] = (0.1, 2.0),
    ) -> None:
        super().__init__(keys)
        self.amounts: dict[Jitter, float] = {
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": hue,
        }
        for name, amount in self.amounts.items():
            if not 0 <= amount <= (0.5 if name == "hue" else math.inf):
                raise InputError(
                    f"{name}={amount}", "is no amount of jitter", "give 0 or more, hue up to 0.5"
                )
        self.probabilities = (jitter_probability, grayscale_probability, blur_probability)
        if not all(0 <= probability <= 1 for probability in self.probabilities):
            raise InputError(f"probabilities {self.probabilities}", "are none", "give 0 to 1 each")
        if len(blur_sigma) != 2 or not 0 < blur_sigma[0] <= blur_sigma[1]:
            raise InputError(f"blur_sigma={list(blur_sigma)}", "is no range of deviations", "give [0.1, 2.0]")
        self.blur_sigma = (float(blur_sigma[0]), float(blur_sigma[1]))

    def draw(self) -> ColorDraw:
        """Draw a view; as many numbers whatever comes of them."""
        factors: list[tuple[Jitter, float]] = []
        for name, amount in self.amounts.items():
            low = -amount if name == "hue" else max(0.0, 1 - amount)
            factors.append((name, float(self.R.uniform(low, amount if name == "hue" else 1 + amount))))
        order = self.R.permutation(len(factors))
        jitter, grayscale, blur = (bool(self.R.random() < probability) for probability in self.probabilities)
        sigma = float(self.R.uniform(*self.blur_sigma))
        jitters = tuple(factors[index] for index in order) if jitter else ()
        return ColorDraw(jitters, grayscale, sigma if blur else 0.0)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw a view for each key and apply it."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = recolored(item[key].as_subclass(Tensor), self.draw())
        return item


def recolored(image: Tensor, draw: ColorDraw) -> Tensor:
    """The drawn view of an image ``(C, H, W)`` in [0, 1]."""
    is_rgb = len(image) == 3
    for name, factor in draw.jitters:
        if is_rgb or name in ("brightness", "contrast"):
            image = JITTERS[name](image, factor)
    if draw.grayscale and is_rgb:
        image = grey(image).expand_as(image).contiguous()
    return gaussian_blur(image, draw.sigma) if draw.sigma else image


def grey(image: Tensor) -> Tensor:
    """Luma ``(1, H, W)`` of an RGB image; the mean of the channels where there are not three."""
    if len(image) != 3:
        return image.mean(0, keepdim=True)
    red, green, blue = LUMA
    return (image[:1] * red).add_(image[1:2], alpha=green).add_(image[2:], alpha=blue)


def adjust_brightness(image: Tensor, factor: float) -> Tensor:
    """Times the factor, as Pillow's ``ImageEnhance.Brightness``."""
    return (image * factor).clamp_(0, 1)


def adjust_contrast(image: Tensor, factor: float) -> Tensor:
    """Away from the mean of the grey image, as Pillow's ``ImageEnhance.Contrast``."""
    return torch.lerp(grey(image).mean(), image, factor).clamp_(0, 1)


def adjust_saturation(image: Tensor, factor: float) -> Tensor:
    """Away from the grey image, as Pillow's ``ImageEnhance.Color``."""
    return torch.lerp(grey(image).expand_as(image), image, factor).clamp_(0, 1)


def adjust_hue(image: Tensor, shift: float) -> Tensor:
    """Hue turned by a share of the circle in the hexcone of HSV; saturation and value stay.

    Of a pixel of value V and chroma C, channel n in (5, 3, 1) is ``V - C max(0, min(k, 4 - k, 1))`` at
    ``k = (n + H / 60) mod 6``.
    """
    red, green, blue = image
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    inverse = torch.where(chroma > 0, 1 / chroma, 0.0)
    sextant = torch.where(
        value == red,
        (green - blue) * inverse,
        torch.where(value == green, (blue - red) * inverse + 2, (red - green) * inverse + 4),
    )
    turned = torch.empty_like(image)
    for channel, offset in enumerate((5.0, 3.0, 1.0)):
        place = (sextant + (offset + 6 * shift)) % 6
        torch.sub(value, chroma * torch.minimum(place, 4 - place).clamp_(0, 1), out=turned[channel])
    return turned


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Convolved with a Gaussian cut off at three deviations; the edge goes on as it is.

    MONAI's ``GaussianSmooth`` and a grouped convolution of torch take several times as long on a CPU;
    Pillow's filter is three box filters.
    """
    reach = math.ceil(3 * sigma)
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(reach + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    for axis, margin in ((1, (0, 0, reach, reach)), (2, (reach, reach, 0, 0))):
        size = image.shape[axis]
        padded = functional.pad(image[None], margin, mode="replicate")[0]
        image = padded.narrow(axis, reach, size) * (weights[0] / total)
        for offset in range(1, reach + 1):
            sides = padded.narrow(axis, reach - offset, size) + padded.narrow(axis, reach + offset, size)
            image.add_(sides, alpha=weights[offset] / total)
    return image


JITTERS = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}
"""How each jitter is applied."""
