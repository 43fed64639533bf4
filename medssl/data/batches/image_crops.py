"""The weak view of an image: resized, cropped or padded to the patch, and mirrored.

MONAI's ``RandZoomd``, torch and kornia resize an image wholly before a crop throws most of it away (a
street scene of 1024 x 2048 at twice its size, for a crop of 801 x 801). Pillow resizes a box of it, in
floating point channel by channel as fast as in 8 bits: ``scripts/benchmark.py views`` compares, and
``docs/data.md`` says with what result.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from PIL import Image
from torch import Tensor
from torch.nn import functional

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError

IMAGE_KEY = "image"


@dataclass(frozen=True)
class CropDraw:
    """What is drawn for one weak view.

    Attributes:
        size: of the whole resized image, ``(H, W)``.
        start: first row and column of the crop in it.
        flip: whether left and right are exchanged.
    """

    size: tuple[int, int]
    start: tuple[int, int]
    flip: bool


class WeakImageViewd(Randomizable, MapTransform):  # type: ignore[misc]
    """Random resize, random crop with padding, random horizontal flip; an image and its label alike.

    As in the published code of FixMatch for segmentation, UniMatch and their descendants (Yang et al., CVPR
    2023, LiheYoung/UniMatch, ``dataset/transform.py``): the long side becomes a whole number drawn evenly
    from ``scale_range`` times its length, the short one follows; what is shorter than the patch is padded at
    its bottom and right.

    Input: ``image`` float ``(C, H, W)``; every other key holds class ids ``(1, H, W)``. Output: plain tensors
    ``(C, *patch_size)`` and ``(1, *patch_size)``; padding is 0 in the image and 255 in class ids.

    Args:
        patch_size: ``(H, W)`` of the view in pixels.
        keys: keys to transform alike; an item may lack all but the first.
        scale_range: lowest and highest factor of the long side; ``(1, 1)`` never resizes.
        flip_probability: of the mirror image.

    Raises:
        InputError: a patch, a range or a probability that cannot be.
    """

    def __init__(
        self,
        patch_size: Sequence[int],
        *,
        keys: KeysCollection = (IMAGE_KEY, "label"),
        scale_range: Sequence[float] = (0.5, 2.0),
        flip_probability: float = 0.5,
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        if len(patch_size) != 2 or min(patch_size) < 1:
            raise InputError(f"patch_size={list(patch_size)}", "is no height and width", "give [H, W]")
        if len(scale_range) != 2 or not 0 < scale_range[0] <= scale_range[1]:
            raise InputError(f"scale_range={list(scale_range)}", "is no range of factors", "give [0.5, 2.0]")
        if not 0 <= flip_probability <= 1:
            raise InputError(f"flip_probability={flip_probability}", "is no probability", "give 0 to 1")
        self.patch_size = (int(patch_size[0]), int(patch_size[1]))
        self.scale_range = (float(scale_range[0]), float(scale_range[1]))
        self.flip_probability = flip_probability

    def draw(self, size: Sequence[int]) -> CropDraw:
        """Draw the view of an image of ``(H, W)`` pixels."""
        longest = max(size)
        low, high = (max(int(longest * factor), 1) for factor in self.scale_range)
        length = int(self.R.randint(low, high + 1))
        resized = [max(int(side * length / longest + 0.5), 1) for side in size]
        starts = [
            int(self.R.randint(0, max(side - patch, 0) + 1))
            for side, patch in zip(resized, self.patch_size, strict=True)
        ]
        flip = bool(self.R.random() < self.flip_probability)
        return CropDraw((resized[0], resized[1]), (starts[0], starts[1]), flip)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw a view and apply it.

        Raises:
            ValueError: a volume, or a label that is not on the grid of its image.
        """
        item = dict(data)
        size = tuple(item[self.keys[0]].shape[1:])
        if len(size) != 2:
            raise ValueError(f"image must be (C, H, W), got {tuple(item[self.keys[0]].shape)}")
        draw = self.draw(size)
        for key in self.key_iterator(item):
            if item[key].shape[1:] != size:
                raise ValueError(f"{key!r} of shape {tuple(item[key].shape)} is not on the grid of its image")
            item[key] = view_of(item[key].as_subclass(Tensor), draw, self.patch_size, key == IMAGE_KEY)
        return item


def view_of(values: Tensor, draw: CropDraw, patch_size: tuple[int, int], is_image: bool) -> Tensor:
    """The drawn view of an image (bilinear, padded by 0) or of class ids (nearest, padded by 255).

    Args:
        values: ``(C, H, W)``, of an image float32.
        draw: size, place and mirror.
        patch_size: ``(H, W)`` of the view.
        is_image: whether these are intensities.

    Returns:
        A tensor of its own, ``(C, *patch_size)``.
    """
    places = zip(draw.start, patch_size, draw.size, strict=True)
    spans = [slice(start, min(start + patch, side)) for start, patch, side in places]
    values = (bilinear if is_image else nearest)(values, draw.size, spans)
    missing = [patch - side for patch, side in zip(patch_size, values.shape[1:], strict=True)]
    values = functional.pad(values, (0, missing[1], 0, missing[0]), value=0 if is_image else IGNORE)
    return values.flip(2) if draw.flip else values


def bilinear(image: Tensor, size: Sequence[int], spans: Sequence[slice]) -> Tensor:
    """The rows and columns of ``spans`` of an image as it is when resized to ``size``, antialiased."""
    (top, bottom), (left, right) = (
        (span.start * stored / length, span.stop * stored / length)
        for span, stored, length in zip(spans, image.shape[1:], size, strict=True)
    )
    shape = (spans[1].stop - spans[1].start, spans[0].stop - spans[0].start)
    resized = np.empty((len(image), *reversed(shape)), np.float32)
    for channel, view in zip(image.to(torch.float32).contiguous().numpy(), resized, strict=True):
        # Outside the box Pillow still sees the image: the crop's edges are those of the whole one.
        picture = Image.fromarray(channel)
        view[:] = picture.resize(shape, Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return torch.from_numpy(resized)


def nearest(ids: Tensor, size: Sequence[int], spans: Sequence[slice]) -> Tensor:
    """As :func:`bilinear`, but each pixel is the stored one under its centre."""
    for axis, (length, span) in enumerate(zip(size, spans, strict=True), start=1):
        centres = (torch.arange(span.start, span.stop, dtype=torch.float64) + 0.5) * (
            ids.shape[axis] / length
        )
        ids = ids.index_select(axis, centres.long().clamp_max(ids.shape[axis] - 1))
    return ids
