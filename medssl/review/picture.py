"""One look at a case: three planes through its most uncertain place, contours and heat map."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from medssl.common.files import atomic_path
from medssl.inference.predictor import Prediction
from medssl.review.segments import SegmentClass

HEAT = "inferno"
"""Colour map of uncertainty from 0 to 1: perceptually uniform, the same in every picture."""

WIDTH = 11.0
"""Inches; 100 dots each."""

BLOCK = 4
"""Side in voxels of the cubes whose mean uncertainty is compared: one noisy voxel is no place to look at."""


@dataclass(frozen=True)
class Plane:
    """A plane of a volume in RAS order, as radiologists hang it: the patient's right on the left.

    Attributes:
        name: of the plane.
        axis: the RAS axis that it is perpendicular to.
        across: RAS axis from left to right in the picture, and whether it runs backwards there.
        down: likewise from top to bottom.
        letters: at the left, right, top and bottom edge.
    """

    name: str
    axis: int
    across: tuple[int, bool]
    down: tuple[int, bool]
    letters: tuple[str, str, str, str]


PLANES = (
    Plane("axial", 2, (0, True), (1, True), ("R", "L", "A", "P")),
    Plane("coronal", 1, (0, True), (2, True), ("R", "L", "S", "I")),
    Plane("sagittal", 0, (1, True), (2, True), ("A", "P", "S", "I")),
)


def most_uncertain_place(uncertainty: NDArray[np.floating]) -> tuple[int, int, int]:
    """Centre of the cube of ``BLOCK`` voxels with the largest mean uncertainty, as a voxel index."""
    block = [min(BLOCK, size) for size in uncertainty.shape]
    means = F.avg_pool3d(torch.from_numpy(uncertainty).float()[None, None], block, ceil_mode=False)[0, 0]
    index = np.unravel_index(int(means.argmax()), tuple(means.shape))
    return tuple(int(i) * b + b // 2 for i, b in zip(index, block, strict=True))  # type: ignore[return-value]


def plane_of(volume: NDArray[Any], plane: Plane, index: int) -> NDArray[Any]:
    """The slice of a volume in RAS order as it is shown: rows from top to bottom, columns to the right."""
    section = np.take(volume, index, axis=plane.axis)
    in_plane = [axis for axis in range(3) if axis != plane.axis]
    if in_plane.index(plane.down[0]) == 1:
        section = section.T
    rows = slice(None, None, -1) if plane.down[1] else slice(None)
    columns = slice(None, None, -1) if plane.across[1] else slice(None)
    shown: NDArray[Any] = section[rows, columns]
    return shown


def write_review_picture(
    path: str | Path,
    *,
    scan: NDArray[np.uint8],
    prediction: Prediction,
    affine: NDArray[np.float64],
    classes: Sequence[SegmentClass],
    title: str,
) -> None:
    """Write ``<case>_review.png``.

    Top row: the scan with the contour of every class, and cross-hairs through the most uncertain place.
    Bottom row: uncertainty over the scan on a scale fixed from 0 to 1.

    Args:
        path: the PNG.
        scan: ``(X, Y, Z)`` grey levels of :func:`for_display`, in the file's voxel order.
        prediction: on the same voxels.
        affine: ``(4, 4)`` voxel to RAS in mm.
        classes: names and colours.
        title: line on top.
    """
    orientation = io_orientation(affine)
    place = most_uncertain_place(prediction.uncertainty)
    shape = prediction.labels.shape
    ras_place, ras_spacing = [0, 0, 0], [0.0, 0.0, 0.0]
    for axis, (target, direction) in enumerate(orientation):
        ras_place[int(target)] = place[axis] if direction > 0 else shape[axis] - 1 - place[axis]
        ras_spacing[int(target)] = float(np.linalg.norm(affine[:3, axis]))
    volumes = [apply_orientation(v, orientation) for v in (scan, prediction.labels, prediction.uncertainty)]
    # Every panel has the width of its plane in mm, so that all are to one scale.
    widths = [volumes[0].shape[p.across[0]] * ras_spacing[p.across[0]] for p in PLANES]
    heights = [volumes[0].shape[p.down[0]] * ras_spacing[p.down[0]] for p in PLANES]
    panel = WIDTH * 0.87 * max(heights) / sum(widths)
    height = 2 * panel + 1.75
    figure = Figure(figsize=(WIDTH, height), dpi=100, facecolor="black")
    grid = figure.add_gridspec(
        2, 4, width_ratios=[*widths, 0.03 * sum(widths)], left=0.01, right=0.93, top=1 - 1.15 / height,
        bottom=0.45 / height, wspace=0.04, hspace=0.04,
    )  # fmt: skip
    for column, plane in enumerate(PLANES):
        image, labels, uncertainty = (plane_of(v, plane, ras_place[plane.axis]) for v in volumes)
        aspect = ras_spacing[plane.down[0]] / ras_spacing[plane.across[0]]
        cross = _cross(plane, ras_place, volumes[0].shape)
        for row in range(2):
            axes = figure.add_subplot(grid[row, column])
            _scan(axes, image, aspect, plane)
            if row == 0:
                axes.set_title(plane.name, color="white", fontsize=11, pad=14)
                for segment in classes:
                    _contour(axes, labels == segment.label, segment)
                axes.axvline(cross[0], color="white", linewidth=0.6, alpha=0.6)
                axes.axhline(cross[1], color="white", linewidth=0.6, alpha=0.6)
            else:
                axes.imshow(
                    uncertainty.astype(np.float32), cmap=HEAT, vmin=0, vmax=1, aspect=aspect,
                    alpha=np.clip(2 * uncertainty.astype(np.float32), 0, 0.9), interpolation="nearest",
                )  # fmt: skip
    scale = ScalarMappable(Normalize(0, 1), HEAT)
    bar = figure.colorbar(scale, cax=figure.add_subplot(grid[1, 3]))
    bar.set_label("uncertainty (entropy / ln K)", color="white")
    bar.ax.tick_params(colors="white")
    figure.text(0.01, 1 - 0.25 / height, title, color="white", fontsize=13, va="center")
    for index, segment in enumerate(classes[:12]):
        color = tuple(c / 255 for c in segment.color)
        figure.text(
            0.01 + 0.16 * (index % 6), 1 - (0.55 + 0.22 * (index // 6)) / height, f"■ {segment.name}",
            color=color, fontsize=11,
        )  # fmt: skip
    figure.text(
        0.01, 0.15 / height, "Planes through the most uncertain place (cross-hairs). Radiological view: the "
        "patient's right is on the left. Research use only.", color="0.7", fontsize=9,
    )  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="black", metadata={"Software": None})
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def for_display(scan: NDArray[Any]) -> NDArray[np.uint8]:
    """Intensities as grey levels, from the 1st to the 99.5th percentile (of every so many voxels)."""
    step = max(1, scan.size // 1_000_000)
    low, high = np.percentile(scan.reshape(-1)[::step].astype(np.float32), (1, 99.5))
    levels = np.empty(scan.shape, np.uint8)
    for index, section in enumerate(scan):  # a section at a time: scans may be large
        scaled = (section.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
        levels[index] = scaled.clip(0, 255)
    return levels


def _scan(axes: Axes, image: NDArray[Any], aspect: float, plane: Plane) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, aspect=aspect, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("black")
    for spine in axes.spines.values():
        spine.set_color("0.35")
    left, right, top, bottom = plane.letters
    style: dict[str, Any] = {
        "transform": axes.transAxes, "color": "white", "fontsize": 11, "weight": "bold",
        "bbox": {"facecolor": "black", "alpha": 0.55, "pad": 1.5, "linewidth": 0},
    }  # fmt: skip
    axes.text(0.015, 0.5, left, ha="left", va="center", **style)
    axes.text(0.985, 0.5, right, ha="right", va="center", **style)
    axes.text(0.5, 0.985, top, ha="center", va="top", **style)
    axes.text(0.5, 0.015, bottom, ha="center", va="bottom", **style)


def _contour(axes: Axes, mask: NDArray[np.bool_], segment: SegmentClass) -> None:
    if mask.any() and not mask.all():
        # A rim of background, so that contours close at the border of the picture.
        padded = np.pad(mask.astype(np.float32), 1)
        rows, columns = (np.arange(-1, n + 1) for n in mask.shape)
        color = tuple(c / 255 for c in segment.color)
        axes.contour(columns, rows, padded, levels=[0.5], colors=[color], linewidths=1.6)
        axes.set_xlim(-0.5, mask.shape[1] - 0.5)
        axes.set_ylim(mask.shape[0] - 0.5, -0.5)


def _cross(plane: Plane, place: Sequence[int], shape: Sequence[int]) -> tuple[int, int]:
    """Column and row of a place in the picture of a plane."""
    across, down = (
        shape[axis] - 1 - place[axis] if backwards else place[axis]
        for axis, backwards in (plane.across, plane.down)
    )
    return across, down


def thumbnail(path: str | Path, *, size: int = 520) -> bytes:
    """A JPEG of a picture, at most ``size`` pixels on its longer side."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((size, size))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
