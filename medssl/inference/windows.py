"""Sliding window over volumes of any size, in memory that one number states."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Literal

import torch
from monai.data.utils import compute_importance_map
from torch import Tensor
from torch.nn import functional as F

WindowWeights = Literal["constant", "gaussian"]

HALF_ABOVE = 2**28
"""Bytes of a stored float32 result above which it is stored in float16 instead (256 MiB)."""


def window_starts(size: int, patch: int, stride: int) -> list[int]:
    """First voxels of the windows along an axis: multiples of the stride, the last aligned to the border."""
    count = math.ceil(max(size - patch, 0) / stride) + 1
    return [min(stride * i, size - patch) for i in range(count)]


def storage_dtype(channels: int, voxels: int) -> torch.dtype:
    """What a result is stored in: float32, or float16 where that would take more than ``HALF_ABOVE``."""
    return torch.float32 if 4 * channels * voxels <= HALF_ABOVE else torch.float16


def stream_windows(
    image: Tensor,
    forward: Callable[[Tensor], Tensor],
    *,
    channels: int,
    patch: Sequence[int],
    stride: Sequence[int],
    batch_size: int = 4,
    weights: WindowWeights = "constant",
    advance: Callable[[int], object] | None = None,
) -> Tensor:
    """Weighted mean over windows, accumulated in a slab that moves along the first axis.

    The windows and their mean are those of :class:`medssl.inference.SlidingWindowProbabilities`. MONAI's
    inferer, which that one is made of, holds sums and counts of the whole volume in float32 and several
    copies of them (its buffered mode moves them to the host, not away); here only the rows that windows
    still cover are held as sums, ``(channels + 1) * patch[0] * Y * Z`` float32 numbers, and finished rows
    are stored once, as :func:`storage_dtype` says.

    Args:
        image: ``(C, X, Y, Z)``; where it is smaller than the patch it is padded with zeros.
        forward: from windows ``(B, C, *patch)`` to ``(B, channels, *patch)``.
        channels: channels that ``forward`` gives.
        patch: window, three sides in voxels.
        stride: step between windows per axis, from 1 to the patch.
        batch_size: windows at once.
        weights: every voxel of a window counts alike, or less towards its border (MONAI's Gaussian with
            a deviation of an eighth of the patch).
        advance: called with the number of windows after each batch, for a progress bar.

    Returns:
        ``(channels, X, Y, Z)`` on the CPU.
    """
    size = image.shape[1:]
    padding = [max(p - s, 0) for p, s in zip(patch, size, strict=True)]
    if any(padding):
        before = [n // 2 for n in padding]
        widths = [w for b, n in zip(before, padding, strict=True) for w in (b, n - b)]
        image = F.pad(image, [w for pair in zip(widths[4::-2], widths[5::-2], strict=True) for w in pair])
    else:
        before = [0, 0, 0]
    padded = image.shape[1:]
    importance = compute_importance_map(tuple(patch), mode=weights, dtype=torch.float32)
    starts = [window_starts(s, p, t) for s, p, t in zip(padded, patch, stride, strict=True)]
    across = list(product(starts[1], starts[2]))
    rows = padded[0]
    result = torch.empty(channels, *padded, dtype=storage_dtype(channels, math.prod(padded)))
    sums = torch.zeros(channels, patch[0], *padded[1:])
    total = torch.zeros(patch[0], *padded[1:])
    for index, top in enumerate(starts[0]):
        for first in range(0, len(across), batch_size):
            places = across[first : first + batch_size]
            windows = torch.stack(
                [image[:, top : top + patch[0], y : y + patch[1], z : z + patch[2]] for y, z in places]
            )
            made = forward(windows).to("cpu", torch.float32)
            for (y, z), values in zip(places, made, strict=True):
                where = (slice(None), slice(y, y + patch[1]), slice(z, z + patch[2]))
                sums[(slice(None), *where)] += values * importance
                total[where] += importance
            if advance is not None:
                advance(len(places))
        after = starts[0][index + 1] if index + 1 < len(starts[0]) else rows
        done = after - top  # rows that no later window covers
        result[:, top:after] = sums[:, :done] / total[:done]
        sums = torch.cat([sums[:, done:], torch.zeros_like(sums[:, :done])], 1)
        total = torch.cat([total[done:], torch.zeros_like(total[:done])])
    inside = tuple(slice(b, b + s) for b, s in zip(before, size, strict=True))
    return result[(slice(None), *inside)]
