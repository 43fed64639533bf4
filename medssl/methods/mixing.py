"""Which part of one image is pasted into another: CutMix boxes, free of dimension and of host round trips."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def box_mask(low: Tensor, high: Tensor, shape: Sequence[int]) -> Tensor:
    """Masks ``(B, *shape)``, true in ``low <= index < high`` of every axis; both ``(B, len(shape))``."""
    mask = torch.ones(len(low), *shape, dtype=torch.bool, device=low.device)
    for axis, size in enumerate(shape):
        index = torch.arange(size, device=low.device)
        inside = (index >= low[:, axis, None]) & (index < high[:, axis, None])
        mask &= inside.view(len(low), *[size if a == axis else 1 for a in range(len(shape))])
    return mask


def random_boxes(
    count: int,
    shape: Sequence[int],
    rng: np.random.Generator,
    *,
    axes: tuple[int, ...] = (0, 1),
    misapplied_axes: bool = False,
) -> Tensor:
    """One CutMix box for each of ``count`` images, as the published TCSeg code draws them.

    One ``lambda ~ Beta(4, 4)`` for all, side ``sqrt(1 - lambda)`` of each of ``axes``, the whole of every
    other axis; each image's centre is uniform from an eighth of the axis to its end, the box clipped to it.

    Args:
        count: images ``B``.
        shape: spatial shape ``S``.
        rng: source of randomness.
        axes: the axes that are cut.
        misapplied_axes: measure sides and centres along the axis behind each of ``axes``, as the published
            code does by passing a shape with one entry too many.

    Returns:
        ``(B, *S)`` bool on the CPU.
    """
    ratio = float(np.sqrt(1 - rng.beta(4, 4)))
    low, high = np.zeros((count, len(shape)), np.int64), np.tile(np.array(shape, np.int64), (count, 1))
    for axis in axes:
        extent = shape[min(axis + 1, len(shape) - 1)] if misapplied_axes else shape[axis]
        side = int(extent * ratio)
        centre = rng.integers(extent // 8, extent, size=count)
        low[:, axis] = np.clip(centre - side // 2, 0, extent)
        high[:, axis] = np.clip(centre + side // 2, 0, extent)
    return box_mask(torch.from_numpy(low), torch.from_numpy(high), shape)


def centred_boxes(region: Tensor, rng: np.random.Generator, *, axes: tuple[int, ...] = (0, 1)) -> Tensor:
    """A box around the centroid of each region; empty where the region is.

    The side is ``lambda`` of each of ``axes``, ``lambda ~ Beta(4, 4)`` per image; the whole of every other
    axis (published TCSeg code).

    Args:
        region: ``(B, *S)`` bool.
        rng: source of randomness, drawn from whether a region is empty or not.
        axes: the axes that are cut.

    Returns:
        ``(B, *S)`` bool on the device of ``region``.
    """
    count, shape, device = len(region), region.shape[1:], region.device
    share = torch.from_numpy(rng.beta(4, 4, size=count)).to(device)
    low = torch.zeros(count, len(shape), dtype=torch.long, device=device)
    high = torch.tensor(shape, device=device).expand(count, -1).clone()
    voxels = region.flatten(1).sum(1).clamp(min=1)
    for axis in axes:
        others = [a + 1 for a in range(len(shape)) if a != axis]
        profile = region.sum(others)
        index = torch.arange(shape[axis], device=device)
        centre = (profile * index).sum(1) // voxels
        half = (share * shape[axis]).long() // 2
        low[:, axis], high[:, axis] = centre - half, centre + half
    present = region.flatten(1).any(1).view(count, *[1] * len(shape))
    return box_mask(low, high, shape) & present


def cutmix_boxes(
    count: int,
    shape: Sequence[int],
    rng: np.random.Generator,
    *,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> Tensor:
    """Boxes as FixMatch, UniMatch and their kin draw them, each image's by itself.

    With ``probability`` a box of ``area`` times the image, whose sides' ratio is drawn anew together with its
    corner until it lies inside; else none. The ratio counts in units of the image's own sides: in square
    images, such as the published crops, that is the published law, and in long ones a box that fits always
    exists. In volumes the first two axes are cut and the third is spanned, as :func:`random_boxes` does, so
    that ``area`` stays the share of the image that is replaced.

    Args:
        count: images ``B``.
        shape: spatial shape ``S``.
        rng: source of randomness.
        probability: of a box, in [0, 1].
        area: least and largest share of the image.
        aspect: least and largest ratio of the first side to the second.

    Returns:
        ``(B, *S)`` bool on the CPU.
    """
    low, high = np.zeros((count, len(shape)), np.int64), np.tile(np.array(shape, np.int64), (count, 1))
    plane = np.array(shape[:2])
    for image in range(count):
        share = rng.uniform(*area)
        if rng.random() >= probability:
            high[image] = 0
            continue
        while True:
            ratio = rng.uniform(*aspect)
            side = (plane * np.sqrt([share * ratio, share / ratio])).astype(np.int64)
            corner = rng.integers(0, plane)
            if (corner + side <= plane).all():
                break
        low[image, :2], high[image, :2] = corner, corner + side
    return box_mask(torch.from_numpy(low), torch.from_numpy(high), shape)


def paste(boxes: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """``inside`` where ``boxes`` ``(B, *S)`` are true, else ``outside``: ``(B, *S)`` or ``(B, C, *S)``."""
    return torch.where(boxes if inside.ndim == boxes.ndim else boxes.unsqueeze(1), inside, outside)
