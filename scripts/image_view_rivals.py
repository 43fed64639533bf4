"""The weak and the strong view of ``medssl.data`` in other libraries, for ``scripts/benchmark.py views``.

Every rival takes the same draws of the weak view (size, place) and applies all of the strong view:
brightness, contrast, saturation, hue, blur. It begins with the pixels that it works on (bytes or floats) and
ends with float32 ``(3, H, W)`` in [0, 1], which a network takes. kornia, albumentations and OpenCV are
measured where they are installed; medssl needs none of them.
"""

import importlib.util
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from monai.transforms import GaussianSmooth, Resize
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor
from torch.nn import functional

from medssl.data.batches.image_colors import ColorDraw, recolored
from medssl.data.batches.image_crops import CropDraw, view_of

View = Callable[[], Tensor]
BRIGHTNESS, CONTRAST, SATURATION, HUE, SIGMA = 1.3, 0.8, 1.2, 0.1, 1.0


def is_installed(package: str) -> bool:
    """Whether a rival can be measured."""
    return importlib.util.find_spec(package) is not None


def weak_rivals(image: Tensor, draw: CropDraw, patch: tuple[int, int]) -> dict[str, View]:
    """One weak view by each library, medssl's first; ``image`` float32 ``(3, H, W)`` in [0, 1]."""
    pixels = _bytes(image)
    rows, columns = (slice(s, min(s + p, n)) for s, p, n in zip(draw.start, patch, draw.size, strict=True))

    def padded(view: Tensor) -> Tensor:
        return functional.pad(view, (0, patch[1] - view.shape[2], 0, patch[0] - view.shape[1]))

    def torch_whole() -> Tensor:
        resized = functional.interpolate(image[None], draw.size, mode="bilinear", antialias=True)[0]
        return padded(resized[:, rows, columns])

    def monai_whole() -> Tensor:
        resized = Resize(draw.size, mode="bilinear", anti_aliasing=draw.size[0] < image.shape[1])(image)
        return padded(resized.as_tensor()[:, rows, columns])

    def pillow() -> Tensor:
        factors = (image.shape[2] / draw.size[1], image.shape[1] / draw.size[0])
        box = (columns.start * factors[0], rows.start * factors[1],
               columns.stop * factors[0], rows.stop * factors[1])  # fmt: skip
        size = (columns.stop - columns.start, rows.stop - rows.start)
        resized = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box)
        return padded(_floats(np.array(resized)))

    rivals: dict[str, View] = {
        "medssl": lambda: view_of(image, draw, patch, is_image=True),
        "torch, whole image": torch_whole,
        "MONAI, whole image": monai_whole,
        "Pillow, 8 bits": pillow,
    }
    if is_installed("kornia"):
        kornia: Any = import_module("kornia")

        def kornia_whole() -> Tensor:
            resized = kornia.geometry.resize(image[None], draw.size, antialias=draw.size[0] < image.shape[1])
            return padded(resized[0, :, rows, columns])

        rivals["kornia, whole image"] = kornia_whole
    if is_installed("cv2"):
        cv2: Any = import_module("cv2")

        cv2.setNumThreads(1)
        rivals["OpenCV (albumentations), 8 bits"] = lambda: padded(
            _floats(cv2.resize(pixels, draw.size[::-1])[rows, columns])
        )
    return rivals


def strong_rivals(image: Tensor) -> dict[str, View]:
    """One strong view by each library, medssl's first, of float32 ``(3, H, W)`` in [0, 1]."""
    pixels = _bytes(image)
    draw = ColorDraw(
        (("brightness", BRIGHTNESS), ("contrast", CONTRAST), ("saturation", SATURATION), ("hue", HUE)),
        grayscale=False,
        sigma=SIGMA,
    )

    def pillow() -> Tensor:
        picture = Image.fromarray(pixels)
        for enhance, factor in (
            (ImageEnhance.Brightness, BRIGHTNESS),
            (ImageEnhance.Contrast, CONTRAST),
            (ImageEnhance.Color, SATURATION),
        ):
            picture = enhance(picture).enhance(factor)
        hue, saturation, value = picture.convert("HSV").split()
        turned = Image.fromarray(np.array(hue) + np.uint8(HUE * 255))
        picture = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
        return _floats(np.array(picture.filter(ImageFilter.GaussianBlur(SIGMA))))

    jitters = ColorDraw(draw.jitters, grayscale=False, sigma=0.0)
    rivals: dict[str, View] = {
        "medssl": lambda: recolored(image, draw),
        "Pillow, 8 bits": pillow,
        "medssl, blur of MONAI": lambda: GaussianSmooth(SIGMA)(recolored(image, jitters)),
    }
    if is_installed("kornia"):
        kornia: Any = import_module("kornia")

        def by_kornia() -> Tensor:
            view = kornia.enhance.adjust_brightness_accumulative(image, BRIGHTNESS)
            view = kornia.enhance.adjust_contrast_with_mean_subtraction(view, CONTRAST)
            view = kornia.enhance.adjust_saturation_with_gray_subtraction(view, SATURATION)
            view = kornia.enhance.adjust_hue(view, 2 * math.pi * HUE)
            blurred: Tensor = kornia.filters.gaussian_blur2d(view[None], (7, 7), (SIGMA, SIGMA))[0]
            return blurred

        rivals["kornia"] = by_kornia
    if is_installed("albumentations"):
        albumentations: Any = import_module("albumentations")

        chain: Any = albumentations.Compose(
            [
                albumentations.ColorJitter(
                    (BRIGHTNESS,) * 2, (CONTRAST,) * 2, (SATURATION,) * 2, (HUE,) * 2, p=1
                ),
                albumentations.GaussianBlur((7, 7), (SIGMA, SIGMA), p=1),
            ]
        )
        rivals["albumentations, 8 bits"] = lambda: _floats(chain(image=pixels)["image"])
    return rivals


def _bytes(image: Tensor) -> np.ndarray[Any, Any]:
    return (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def _floats(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).contiguous().float().div_(255)
