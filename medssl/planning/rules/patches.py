"""Rules of the patch: which sizes there are, and which of them is worth its time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from medssl.networks.downsampling import Downsampling, anisotropic_strides, product_of_strides

MOST_VOXELS = 128**3
"""nnU-Net's patch of a GPU of 8 GB or more; larger ones gave it no more."""

LEAST_SHARE = 0.25
"""nnU-Net's: a patch that shows less of the median scan wants a coarser grid."""

CONTEXT = 1.5
"""A patch that is this many times as long as the largest structure shows enough around it, too. Ours."""

PUBLISHED_MULTIPLE = 16
"""Of the V-Net with four halvings of every axis."""

LEAST_ISOTROPIC_SIDE = 24
"""Voxels of the shortest axis from which four halvings of it waste less than a third."""

PROBE = 32**3
"""Voxels of the patch that is timed first; in a smaller one what does not depend on its size prevails."""

MOST_MEASUREMENTS = 6
"""Patches whose step is timed, at most."""

Patch = tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """What of a network depends on the grid.

    Attributes:
        multiple: what a side of a patch is a multiple of, by axis.
        downsampling: strides and kernels of a V-Net or a DynUNet; None as published.
    """

    multiple: Patch
    downsampling: Downsampling | None = None


def vnet_shape(spacing: Sequence[float], size: Sequence[float]) -> Shape:
    """Strides and kernels of the V-Net: as published, or sparing a coarse or a short axis.

    Source: nnU-Net's rule (:func:`medssl.networks.downsampling.anisotropic_strides`) where an axis is at
    least twice as coarse as the finest, or shorter than :data:`LEAST_ISOTROPIC_SIDE` voxels.
    """
    isotropic = max(spacing) < 2 * min(spacing)
    if isotropic and min(size) >= LEAST_ISOTROPIC_SIDE:
        return Shape((PUBLISHED_MULTIPLE,) * len(size))
    downsampling = anisotropic_strides(spacing, [max(1, round(n)) for n in size])
    return Shape(product_of_strides(downsampling.strides), downsampling)


def ladder(size: Sequence[float], multiple: Sequence[int]) -> list[Patch]:
    """Patches from the whole of a median scan down to two multiples a side, largest first.

    Source: nnU-Net: the patch begins at the median scan, each side at the nearest multiple, and the side that
    is longest in proportion to the scan is shortened first.

    Args:
        size: voxels of the median scan along each axis, after crop and resampling.
        multiple: of the network.
    """
    patch = [max(step, round(n / step) * step) for n, step in zip(size, multiple, strict=True)]
    least = [min(side, 2 * step) for side, step in zip(patch, multiple, strict=True)]
    patches = [tuple(patch)]
    while True:
        free = [a for a, side in enumerate(patch) if side - multiple[a] >= least[a]]
        if not free:
            break
        longest = max(free, key=lambda axis: (patch[axis] / size[axis], -axis))
        patch[longest] -= multiple[longest]
        patches.append(tuple(patch))
    small = [patch for patch in patches if prod(patch) <= MOST_VOXELS]
    return small or patches[-1:]


def shown_share(patch_mm: Sequence[float], size_mm: Sequence[float]) -> float:
    """Share of a scan's volume that a patch shows at once."""
    return prod(min(side / whole, 1.0) for side, whole in zip(patch_mm, size_mm, strict=True))


def covers(patch_mm: Sequence[float], size_mm: Sequence[float], structure_mm: Sequence[float]) -> bool:
    """Whether a patch shows enough at once.

    Source: nnU-Net's quarter of the median scan (:data:`LEAST_SHARE`), or :data:`CONTEXT` times the median
    extent of the largest class along every axis, whichever asks for less.
    """
    if shown_share(patch_mm, size_mm) >= LEAST_SHARE:
        return True
    wanted = (min(CONTEXT * extent, whole) for extent, whole in zip(structure_mm, size_mm, strict=True))
    return all(side >= least for side, least in zip(patch_mm, wanted, strict=True))


@dataclass(frozen=True)
class StepCost:
    """What a training step of a patch costs.

    Attributes:
        seconds: of a step.
        memory_mb: MiB that it needs beside what was there before; None where nobody knows.
    """

    seconds: float
    memory_mb: float | None = None


def affordable(
    patches: Sequence[Patch],
    measure: Callable[[Patch], StepCost],
    *,
    seconds: float,
    memory_mb: float | None = None,
) -> tuple[Patch, StepCost]:
    """The largest patch whose step stays below a time and a memory; the smallest where none does.

    It is looked for with few measurements: a small patch is timed first (:func:`probe`). The time of others
    is taken to grow with their voxels, or, once two are known, along the line through both, since a part of
    a step does not depend on the patch; the largest that should do is timed in turn, until none is left.

    Args:
        patches: largest first.
        measure: times a step.
        seconds: that a step may take.
        memory_mb: MiB that it may take; None for any.
    """
    known: dict[Patch, StepCost] = {}

    def fits(cost: StepCost) -> bool:
        memory_fits = memory_mb is None or cost.memory_mb is None or cost.memory_mb <= memory_mb
        return memory_fits and cost.seconds <= seconds

    def likely(patch: Patch) -> bool:
        (near, cost), *others = sorted(known.items(), key=lambda item: abs(prod(item[0]) - prod(patch)))
        more = prod(patch) - prod(near)
        slope = cost.seconds / prod(near)
        if others and prod(others[0][0]) != prod(near):
            measured = (cost.seconds - others[0][1].seconds) / (prod(near) - prod(others[0][0]))
            slope = min(max(measured, 0.1 * slope), slope)
        memory = None if cost.memory_mb is None else cost.memory_mb * prod(patch) / prod(near)
        return fits(StepCost(cost.seconds + slope * more, memory))

    candidates = list(patches)
    first = probe(patches)
    while len(known) < MOST_MEASUREMENTS and candidates:
        patch = first if not known else next((p for p in candidates if likely(p)), candidates[-1])
        known[patch] = measure(patch)
        if fits(known[patch]):
            candidates = [p for p in candidates if prod(p) > prod(patch)]
            if not any(likely(p) for p in candidates):
                break
        else:
            candidates = [p for p in candidates if prod(p) < prod(patch) and p not in known]
    fitting = [patch for patch in known if fits(known[patch])]
    chosen = max(fitting, key=prod) if fitting else min(known, key=prod)
    return chosen, known[chosen]


def probe(patches: Sequence[Patch]) -> Patch:
    """The patch that is timed first: the smallest of at least :data:`PROBE` voxels, or the largest."""
    return next((patch for patch in reversed(patches) if prod(patch) >= PROBE), patches[0])
