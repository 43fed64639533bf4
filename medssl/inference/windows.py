"""Sliding window over images of any size, in memory that one number states."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Literal

import torch
from monai.data.utils import compute_importance_map
from torch import Tensor
from torch.nn import functional as F

from medssl.common.errors import InputError

WindowWeights = Literal["constant", "gaussian"]

HALF_ABOVE = 2**28
"""Bytes of a stored float32 result above which it is stored in float16 instead (256 MiB)."""


def window_starts(size: int, patch: int, stride: int) -> list[int]:
    """First voxels of the windows along an axis: multiples of the stride, the last aligned to the border."""
    count = math.ceil(max(size - patch, 0) / stride) + 1
    return [min(stride * i, size - patch) for i in range(count)]


def check_stride(patch: Sequence[int], stride: Sequence[int]) -> None:
    """Refuse windows that leave a gap, or do not move.

    Raises:
        InputError: a stride that is not from 1 to the patch on every axis.
    """
    if len(stride) != len(patch) or any(not 0 < s <= p for s, p in zip(stride, patch, strict=True)):
        raise InputError(
            f"stride {list(stride)}",
            f"not between 1 and the patch {list(patch)} on every axis",
            "give one stride per axis",
        )


def storage_dtype(channels: int, voxels: int) -> torch.dtype:
    """What a result is stored in: float32, or float16 where that would take more than ``HALF_ABOVE``."""
    return torch.float32 if 4 * channels * voxels <= HALF_ABOVE else torch.float16


def stream_windows(
    image: Tensor,
    forward: Callable[[Tensor], Tensor],
    *,
    patch: Sequence[int],
    stride: Sequence[int],
    batch_size: int = 4,
    weights: WindowWeights = "constant",
    advance: Callable[[int], object] | None = None,
) -> Tensor:
    """Weighted mean over windows, accumulated in a slab that moves along the first axis.

    The evaluation of UA-MT, MC-Net and TCSeg: ``ceil((size - patch) / stride) + 1`` windows an axis, starts
    ``min(stride * i, size - patch)``, every window counts alike, images smaller than the patch are padded
    with zeros. MONAI's inferer takes an overlap instead of a stride, and holds sums and counts of the whole
    volume in float32 and several copies of them (its buffered mode moves them to the host, not away); here
    only the rows that windows still cover are held as sums, ``(channels + 1) * patch[0] * Y * Z`` float32
    numbers, and finished rows are stored once, as :func:`storage_dtype` says.

    Args:
        image: ``(C, *S)``; where it is smaller than the patch it is padded with zeros on both sides.
        forward: from windows ``(B, C, *patch)`` to ``(B, channels, *patch)``.
        patch: window, one side an axis; a window as large as the image is the image as a whole.
        stride: step between windows per axis, from 1 to the patch.
        batch_size: windows at once.
        weights: every voxel of a window counts alike, or less towards its border (MONAI's Gaussian with
            a deviation of an eighth of the patch).
        advance: called with the number of windows after each batch, for a progress bar.

    Returns:
        ``(channels, *S)`` on the CPU.
    """
    size = image.shape[1:]
    missing = [max(p - s, 0) for p, s in zip(patch, size, strict=True)]
    before = [count // 2 for count in missing]
    if any(missing):
        sides = [(b, count - b) for b, count in zip(before, missing, strict=True)]
        image = F.pad(image, [width for side in reversed(sides) for width in side])
    padded = image.shape[1:]
    importance = compute_importance_map(tuple(patch), mode=weights, dtype=torch.float32)
    tops, *others = (window_starts(*axis) for axis in zip(padded, patch, stride, strict=True))
    across = [
        tuple(slice(start, start + side) for start, side in zip(starts, patch[1:], strict=True))
        for starts in product(*others)
    ]
    result = sums = total = torch.empty(0)
    for index, top in enumerate(tops):
        rows = image[:, top : top + patch[0]]
        for first in range(0, len(across), batch_size):
            places = across[first : first + batch_size]
            windows = torch.stack([rows[(slice(None), slice(None), *place)] for place in places])
            outputs = forward(windows).to("cpu", torch.float32)
            if not result.numel():
                channels = outputs.shape[1]
                result = torch.empty(channels, *padded, dtype=storage_dtype(channels, math.prod(padded)))
                sums, total = torch.zeros(channels, patch[0], *padded[1:]), torch.zeros(patch[0], *padded[1:])
            for place, values in zip(places, outputs, strict=True):
                sums[(slice(None), slice(None), *place)] += values * importance
                total[(slice(None), *place)] += importance
            if advance is not None:
                advance(len(places))
        following = tops[index + 1] if index + 1 < len(tops) else padded[0]
        done = following - top  # rows that no later window covers
        result[:, top:following] = sums[:, :done] / total[:done]
        sums = torch.cat([sums[:, done:], torch.zeros_like(sums[:, :done])], 1)
        total = torch.cat([total[done:], torch.zeros_like(total[:done])])
    inside = tuple(slice(b, b + s) for b, s in zip(before, size, strict=True))
    return result[(slice(None), *inside)]
