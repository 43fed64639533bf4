"""Rules of the grid: orientation, spacing, and by how much it may be made coarser."""

from collections.abc import Sequence

import numpy as np

from medssl.planning.fingerprint import Fingerprint

COARSE = 3.0
"""nnU-Net's: an axis is coarse whose spacing is this many times that of the finest one."""

SAME_SPACING = 0.01
"""Spacings that differ by less, as a share, count as one: nothing is resampled then."""

FACTORS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""By which the finest axes may be made coarser."""

LEAST_VOXELS = 4.0
"""Voxels that a small structure keeps along every axis."""


def orientation(fingerprint: Fingerprint) -> tuple[str | None, str]:
    """The orientation in which patch and spacing count, and why.

    Ours: nnU-Net keeps the stored order; one orientation makes results independent of how a file is stored,
    and flips along left and right possible.
    """
    if all(case.oriented for case in fingerprint.cases):
        return "RAS", "every file says how its axes lie in the patient"
    return None, "some files do not say how their axes lie in the patient"


def spacing(fingerprint: Fingerprint) -> tuple[tuple[float, ...], bool, str]:
    """The grid of the network in mm, whether scans must be resampled to it, and why.

    Source: nnU-Net (Isensee et al. 2021): the median along each axis. Of a coarse axis it takes the 10th
    percentile instead, to lose nothing of the better scans; here it is the median, too: with few labelled
    cases slices and labels that were interpolated between two real ones are no gain, and cost time.
    """
    median = fingerprint.spacing
    sides = np.asarray([case.spacing for case in fingerprint.cases])
    spread = (sides.max(axis=0) - sides.min(axis=0)) / sides.min(axis=0)
    coarse = coarse_axes(median)
    words = f"; axis {coarse[0]} stays coarse" if coarse else ""
    if (spread <= SAME_SPACING).all():
        return median, False, f"all scans have {times(median)} mm{words}"
    return median, True, f"the median of spacings that differ by up to {spread.max():.0%}{words}"


def coarse_axes(sides: Sequence[float]) -> list[int]:
    """Axes whose spacing is at least :data:`COARSE` times the finest one."""
    return [axis for axis, side in enumerate(sides) if side >= COARSE * min(sides)]


def coarser(sides: Sequence[float], factor: float) -> tuple[float, ...]:
    """A grid in which the finest axes are ``factor`` times as coarse; coarser ones stay until reached.

    Source: nnU-Net's low-resolution configuration, which leaves a coarse axis alone until the others are as
    coarse.
    """
    least = factor * min(sides)
    return tuple(float(f"{max(side, least):.6g}") for side in sides)


def largest_factor(fingerprint: Fingerprint, sides: Sequence[float]) -> float:
    """The largest of :data:`FACTORS` at which small structures keep :data:`LEAST_VOXELS` along every axis.

    Of each class the extents that a tenth of its labelled cases stay below; along an axis where a structure
    has fewer voxels as it is, it keeps those. Ours.
    """
    least = 1.0
    for factor in FACTORS:
        grid = coarser(sides, factor)
        keeps = all(
            extent / new >= min(LEAST_VOXELS, extent / old)
            for extents in fingerprint.extents(0.1).values()
            for extent, new, old in zip(extents, grid, sides, strict=True)
        )
        if keeps:
            least = factor
    return least


def times(sides: Sequence[float]) -> str:
    """``1.5 x 1.5 x 10``."""
    return " x ".join(f"{side:.4g}" for side in sides)
