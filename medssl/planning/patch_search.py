"""Grid and patch together: the largest patch that the budget allows, on a grid on which it shows enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

from medssl.planning.fingerprint import Fingerprint
from medssl.planning.rules import grid
from medssl.planning.rules.patches import (
    Patch,
    Shape,
    StepCost,
    affordable,
    covers,
    ladder,
    probe,
    shown_share,
    vnet_shape,
)

FASTER = 0.9
"""bf16 is taken where a step takes less than this share of the time in float32."""


class Costs(Protocol):
    """What steps cost: measured (:class:`medssl.planning.timing.StepTimer`), or said by the user."""

    def step(self, patch: Patch, **settings: Any) -> StepCost:
        """Of a training step."""

    def window(self, patch: Patch, **settings: Any) -> float:
        """Seconds in which a window is predicted."""

    def multiple(self) -> int | tuple[int, ...]:
        """What a side of a patch must be a multiple of."""


@dataclass(frozen=True)
class ToldCosts:
    """Costs that the user says, for plans that come out alike on any machine.

    Attributes:
        seconds: of a step, whatever the patch.
        patch_multiple: of the network.
    """

    seconds: float
    patch_multiple: int = 16

    def step(self, patch: Patch, **settings: Any) -> StepCost:
        """The said time; memory is not known."""
        return StepCost(self.seconds)

    def window(self, patch: Patch, **settings: Any) -> float:
        """A tenth of a step, which has several patches, two decoders, and a way back."""
        return self.seconds / 10

    def multiple(self) -> int:
        """The said multiple."""
        return self.patch_multiple


@dataclass(frozen=True)
class GridAndPatch:
    """What was found.

    Attributes:
        spacing: mm of the network's grid.
        resampled: whether scans are resampled to it.
        spacing_reason: why.
        patch: voxels.
        patch_reason: why.
        shape: what of the network depends on them.
        amp: precision.
        amp_reason: why.
        cost: of a step.
        enough: whether the patch shows enough (:func:`medssl.planning.rules.patches.covers`).
        size: voxels of the median scan on that grid.
    """

    spacing: tuple[float, ...]
    resampled: bool
    spacing_reason: str
    patch: Patch
    patch_reason: str
    shape: Shape
    amp: str
    amp_reason: str
    cost: StepCost
    enough: bool
    size: tuple[float, ...]


def shape_settings(shape: Shape) -> Mapping[str, Any]:
    """The bundle's options for a network's strides and kernels."""
    if shape.downsampling is None:
        return {"network_strides": None, "network_kernels": None}
    return {"network_strides": shape.downsampling.strides, "network_kernels": shape.downsampling.kernels}


def search(
    fingerprint: Fingerprint,
    costs: Costs,
    *,
    cropped: bool,
    seconds: float,
    memory_mb: float | None,
    has_strides: bool,
    measures_amp: bool,
) -> GridAndPatch:
    """Find grid, patch and precision.

    Args:
        fingerprint: of the data set.
        costs: of steps.
        cropped: whether scans are cropped.
        seconds: that a step may take.
        memory_mb: MiB that a training may take; None for any.
        has_strides: whether the network takes strides that spare a coarse axis.
        measures_amp: whether bf16 is timed against float32.
    """
    native, differs, spacing_reason = grid.spacing(fingerprint)
    size_mm = fingerprint.size_mm(cropped=cropped)
    extents = fingerprint.extents(0.5).values()
    structure = tuple(max(axis) for axis in zip(*extents, strict=True)) if extents else size_mm
    fixed = None if has_strides else costs.multiple()
    amp, amp_reason = "off", "bf16 was not timed"

    def size_on(spacing: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(whole / side for whole, side in zip(size_mm, spacing, strict=True))

    def shape_on(spacing: tuple[float, ...]) -> Shape:
        return _shape(spacing, size_on(spacing), fixed)

    def patches_of(spacing: tuple[float, ...]) -> list[Patch]:
        return ladder(size_on(spacing), shape_on(spacing).multiple)

    def afford(patches: list[Patch], spacing: tuple[float, ...]) -> tuple[Patch, StepCost]:
        settings = shape_settings(shape_on(spacing))

        def cost(patch: Patch) -> StepCost:
            return costs.step(patch, amp=amp, **settings)

        return affordable(patches, cost, seconds=seconds, memory_mb=memory_mb)

    patches = patches_of(native)
    if measures_amp:
        amp, amp_reason = _precision(costs, probe(patches), shape_on(native))
    patch, step = afford(patches, native)
    spacing = native
    if not covers(_mm(patch, native), size_mm, structure):
        shown = shown_share(_mm(patch, native), size_mm)
        # Time goes with voxels, and they are what a coarser grid has fewer of.
        voxels = prod(patch) * max(1.0, min(seconds / step.seconds, 1.5))
        most = grid.largest_factor(fingerprint, native)
        for factor in [f for f in grid.FACTORS if 1 < f <= most]:
            coarse = grid.coarser(native, factor)
            likely = [p for p in patches_of(coarse) if prod(p) <= voxels] or patches_of(coarse)[-1:]
            if factor < most and not covers(_mm(likely[0], coarse), size_mm, structure):
                continue
            spacing = coarse
            patch, step = afford(likely[:4], spacing)
            if covers(_mm(patch, spacing), size_mm, structure):
                break
            voxels = prod(patch)  # dearer than it was thought to be
        if spacing != native:
            spacing_reason = (
                f"{min(spacing) / min(native):.3g} times the finest of {grid.times(native)} mm, on whose "
                f"grid the patch that the budget allows shows {shown:.0%} of a scan"
            )
    enough = covers(_mm(patch, spacing), size_mm, structure)
    size = size_on(spacing)
    shown = shown_share(_mm(patch, spacing), size_mm)
    whole = " x ".join(f"{n:.0f}" for n in size)
    return GridAndPatch(
        spacing=spacing,
        resampled=differs or spacing != native,
        spacing_reason=spacing_reason,
        patch=patch,
        patch_reason=(
            f"{shown:.0%} of the median scan ({whole} voxels{' after the crop' if cropped else ''}); a step "
            f"takes {step.seconds:.2g} s, and {seconds:.2g} s buy 1,500 of them"
        ),
        shape=shape_on(spacing),
        amp=amp,
        amp_reason=amp_reason,
        cost=step,
        enough=enough,
        size=size,
    )


def _shape(spacing: tuple[float, ...], size: tuple[float, ...], fixed: int | tuple[int, ...] | None) -> Shape:
    if fixed is None:
        return vnet_shape(spacing, size)
    return Shape((fixed,) * len(size) if isinstance(fixed, int) else fixed)


def _precision(costs: Costs, patch: Patch, shape: Shape) -> tuple[str, str]:
    settings = shape_settings(shape)
    plain, half = (costs.step(patch, amp=amp, **settings).seconds for amp in ("off", "bf16"))
    words = (
        f"a step of {' x '.join(map(str, patch))} voxels takes {half:.2g} s in bf16, {plain:.2g} s in float32"
    )
    return ("bf16" if half < FASTER * plain else "off"), words


def _mm(patch: Patch, spacing: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(n * side for n, side in zip(patch, spacing, strict=True))
