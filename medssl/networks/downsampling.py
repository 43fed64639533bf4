"""Strides and kernels that spare a coarse axis, from the sides of the voxels."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from medssl.common.errors import InputError


class Downsampling(NamedTuple):
    """How a network gets from its finest stage to its coarsest, axis by axis.

    Attributes:
        strides: one entry a step between two stages, of one stride an axis.
        kernels: one entry a stage, so one more, of one side an axis.
    """

    strides: list[list[int]]
    kernels: list[list[int]]


def anisotropic_strides(
    spacing: Sequence[float] | None,
    patch_size: Sequence[int],
    *,
    most_steps: int | None = 4,
    least_side: int = 4,
) -> Downsampling:
    """Strides and kernels by nnU-Net's rule (Isensee et al. 2021, as in the code of its version 2).

    A step halves the axes whose voxel side is less than twice the finest one and whose map stays at least
    ``least_side`` long. Convolutions have side 1 along an axis until its voxel side is less than twice the
    finest, from then on side 3, and side 3 in the coarsest stage. A single axis is halved alone only where
    its map is at least three times ``least_side``. nnU-Net's code compares another axis's voxel side where an
    axis has become too short to be halved; this follows the rule.

    Args:
        spacing: voxel side an axis, in mm or any one unit; None where it is not known and taken as equal.
        patch_size: one side an axis, in voxels. It need not be a multiple of the strides' product
            (:func:`product_of_strides`): rounded up to it, it gives the same steps.
        most_steps: no more of them (the V-Net has 4); None for as many as the patch allows.
        least_side: of a map, in voxels.

    Returns:
        At least one step.

    Raises:
        InputError: a patch of which no axis can be halved, other numbers of axes, or no positive number.

    Example:
        >>> anisotropic_strides((1.5, 1.5, 10), (96, 96, 8)).strides
        [[2, 2, 1], [2, 2, 1], [2, 2, 2], [2, 2, 1]]
        >>> anisotropic_strides((1.5, 1.5, 10), (96, 96, 8)).kernels
        [[3, 3, 1], [3, 3, 1], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    """
    sides = list(patch_size)
    lengths = [1.0] * len(sides) if spacing is None else [float(length) for length in spacing]
    if len(lengths) != len(sides) or not all(0 < value < float("inf") for value in (*lengths, *sides)):
        fault = f"no positive number for each of the {len(sides)} axes of the patch {sides}"
        raise InputError(f"spacing {lengths}", fault, "give one spacing and one side an axis")
    kernel = [1] * len(sides)
    strides: list[list[int]] = []
    kernels: list[list[int]] = []
    while most_steps is None or len(strides) < most_steps:
        long_enough = [axis for axis, side in enumerate(sides) if side >= 2 * least_side]
        finest = min((lengths[axis] for axis in long_enough), default=0.0)
        halved = [axis for axis in long_enough if lengths[axis] < 2 * finest]
        if not halved or (len(halved) == 1 and sides[halved[0]] < 3 * least_side):
            break
        kernel = [
            3 if length < 2 * min(lengths) else side for side, length in zip(kernel, lengths, strict=True)
        ]
        strides.append([2 if axis in halved else 1 for axis in range(len(sides))])
        kernels.append(kernel)
        lengths = [length * step for length, step in zip(lengths, strides[-1], strict=True)]
        sides = [-(-side // step) for side, step in zip(sides, strides[-1], strict=True)]
    if not strides:
        remedy = f"give at least two sides of {2 * least_side} or more"
        raise InputError(f"patch size {list(patch_size)}", "too small to be halved along any axis", remedy)
    return Downsampling(strides, [*kernels, [3] * len(sides)])


def product_of_strides(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """What every side of a patch must be a multiple of: the product of the strides, axis by axis.

    Example:
        >>> product_of_strides([[2, 2, 1], [2, 2, 2]])
        (4, 4, 2)
    """
    return tuple(prod(axis) for axis in zip(*strides, strict=True))
