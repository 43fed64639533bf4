"""Predictions of images as PNG: class ids in colours, values as grey levels, and colours over the image."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medssl.common.files import atomic_path, write_text
from medssl.review.segments import SegmentClass

OPACITY = 0.5
"""Share of a class's colour in an overlay."""


def displayed(image: MetaTensor) -> NDArray[np.uint8]:
    """An image as it was loaded, ``(C, H, W)``, as colours ``(H, W, 3)``: grey levels where it has no three.

    8 bits stay as they are; other values are shown from the lowest to the highest.
    """
    values = image.as_tensor()[: 3 if len(image) >= 3 else 1].float().numpy()
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255 or high <= 1:
        values = (values - low) * (255 / max(high - low, 1e-6))
    colors = values.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    return np.repeat(colors, 3, axis=2) if colors.shape[2] == 1 else np.ascontiguousarray(colors)


def write_class_ids(path: Path, labels: NDArray[Any], classes: Sequence[SegmentClass]) -> None:
    """Write class ids ``(H, W)``: indices of a palette in 8 bits; without one in 16 above 256 classes."""
    if labels.dtype != np.uint8:
        _save(path, Image.fromarray(labels.astype(np.uint16)), "class ids")
        return
    picture = Image.fromarray(labels).convert("L")
    picture.putpalette(palette(classes).flatten().tolist())
    _save(path, picture, "class ids, by a palette of their colours")


def palette(classes: Sequence[SegmentClass]) -> NDArray[np.uint8]:
    """Colours ``(256, 3)`` by class id; what is no class is white."""
    colors = np.full((256, 3), 255, np.uint8)
    for segment in classes:
        if segment.label < len(colors):
            colors[segment.label] = segment.color
    return colors


def write_levels(path: Path, values: NDArray[np.floating], *, content: str) -> None:
    """Write values in [0, 1], ``(H, W)``, as 8-bit grey levels: the value times 255."""
    levels = (values.astype(np.float32) * 255).round().clip(0, 255).astype(np.uint8)
    _save(path, Image.fromarray(levels), f"{content} = grey level / 255")


def write_overlay(
    path: Path, shown: NDArray[np.uint8], labels: NDArray[Any], classes: Sequence[SegmentClass]
) -> None:
    """Write the image under its classes' colours.

    Args:
        path: the PNG.
        shown: ``(H, W, 3)``, of :func:`displayed`.
        labels: ``(H, W)`` class ids.
        classes: names and colours; colours are those of ids modulo 256.
    """
    colors = palette(classes)[labels.astype(np.int64) % 256]
    mixed = shown * np.float32(1 - OPACITY) + colors * np.float32(OPACITY)
    _save(path, Image.fromarray(mixed.round().astype(np.uint8)), "image under the colours of its classes")


def write_class_table(folder: Path, classes: Sequence[SegmentClass]) -> None:
    """Write ``classes.csv``: id, name and colour of every class."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(("class", "name", "red", "green", "blue"))
    table.writerows((segment.label, segment.name, *segment.color) for segment in classes)
    write_text(folder / "classes.csv", buffer.getvalue())


def _save(path: Path, picture: Image.Image, content: str) -> None:
    about = PngInfo()
    about.add_text("Description", content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=about)
