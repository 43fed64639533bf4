"""Coloured shapes on textured ground: natural images of known classes, where no photograph is at hand.

For rehearsals and tests. Discs, squares and triangles differ by their outline; their colours only lean
towards a hue of their class, and light, texture and noise vary from image to image, so that a few labelled
images do not show all of it. The outlines are ignored (255), as in PASCAL VOC.
"""

import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError

Floats = NDArray[np.float64]

IMAGE_SIZE = (96, 128)
MIN_SIDE = 32
SHAPE_CLASSES = {0: "ground", 1: "disc", 2: "square", 3: "triangle"}

_HUES = {1: 0.02, 2: 0.35, 3: 0.62}
_HUE_DEVIATION = 0.09
_OUTLINE = 0.7  # pixels on either side that are ignored


@dataclass(frozen=True)
class Shapes:
    """One case.

    Attributes:
        image: uint8 ``(H, W, 3)``, RGB.
        label: uint8 ``(H, W)``, ids of :data:`SHAPE_CLASSES`; 255 along outlines.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]


def make_shapes(case: int, *, seed: int, size: Sequence[int] = IMAGE_SIZE) -> Shapes:
    """Image number ``case`` of a seed; depends on nothing else.

    Args:
        case: number of the image, from 0.
        seed: of the whole set.
        size: pixels along the two axes, rows first.

    Raises:
        InputError: other than two sides, or one that is too small.
    """
    if len(size) != 2 or min(size) < MIN_SIDE:
        raise InputError(
            f"image of {'x'.join(map(str, size))} pixels",
            f"needs two sides of at least {MIN_SIDE}",
            "ask for more pixels",
        )
    rng = np.random.default_rng((seed, case))
    rows, columns = np.meshgrid(*(np.arange(side, dtype=np.float64) for side in size), indexing="ij")
    colours = _ground(rng, size)
    label = np.zeros(size, np.uint8)
    for number in range(rng.integers(3, 7)):
        # The first three are one of each class, whatever covers them later.
        kind = int(rng.integers(1, 4)) if number > 2 else number + 1
        radius = min(size) * rng.uniform(0.10, 0.24)
        centre = [rng.uniform(0.1, 0.9) * side for side in size]
        distance = _distance(kind, rows - centre[0], columns - centre[1], radius, rng.uniform(0, 2 * np.pi))
        cover = np.clip(0.5 - distance, 0, 1)[..., None]
        colours = cover * _colour(kind, rng) + (1 - cover) * colours
        label[distance < -_OUTLINE] = kind
        label[np.abs(distance) <= _OUTLINE] = IGNORE
    light = 1 + 0.25 * _field(rng, size, 0.4)
    noisy = colours * light[..., None] + rng.normal(0, rng.uniform(0.02, 0.07), (*size, 3))
    return Shapes(np.round(np.clip(noisy, 0, 1) * 255).astype(np.uint8), label)


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def _ground(rng: np.random.Generator, size: Sequence[int]) -> Floats:
    """Two colours of any hue, mixed by a smooth texture ``(H, W, 3)``."""
    share = 1 / (1 + np.exp(-2 * _field(rng, size, rng.uniform(0.03, 0.15))))[..., None]
    first, second = (_rgb(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.8)) for _ in range(2))
    return share * first + (1 - share) * second


def _colour(kind: int, rng: np.random.Generator) -> Floats:
    hue = (_HUES[kind] + rng.normal(0, _HUE_DEVIATION)) % 1
    return _rgb(hue, rng.uniform(0.4, 0.9), rng.uniform(0.5, 1.0))


def _rgb(hue: float, saturation: float, value: float) -> Floats:
    return np.asarray(colorsys.hsv_to_rgb(hue, saturation, value))


def _field(rng: np.random.Generator, size: Sequence[int], scale: float) -> Floats:
    """A smooth random field of mean 0 and deviation 1; ``scale`` of structures, in shorter sides."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(size), scale * min(size), mode="wrap")
    return np.asarray((smooth - smooth.mean()) / smooth.std())


def _distance(kind: int, rows: Floats, columns: Floats, radius: float, turn: float) -> Floats:
    """Pixels to the outline of a shape around 0, negative inside; of polygons to the line of an edge."""
    if kind == 1:
        return np.asarray(np.hypot(rows, columns) - radius)
    sides = 4 if kind == 2 else 3
    normals = turn + 2 * np.pi * np.arange(sides) / sides
    edges = [rows * np.cos(angle) + columns * np.sin(angle) for angle in normals]
    # As far from the centre as makes the polygon's corners lie a little outside of the disc's rim.
    return np.asarray(np.max(edges, axis=0) - 1.15 * radius * np.cos(np.pi / sides))
