"""Masks of the objects in COCO's annotations, without pycocotools.

That package must be compiled on some machines, and one image in ten thousand is all that its run-length code
is needed for here: crowds, which are stored as runs, and polygons, which Pillow fills. Its polygons are drawn on
a grid five times as fine; the two differ along outlines only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Mask = NDArray[np.bool_]


def object_mask(segmentation: Any, size: tuple[int, int]) -> Mask:
    """The mask of one object.

    Args:
        segmentation: polygons ``[[x, y, x, y, ...], ...]`` in pixels, or runs ``{"counts": ..., "size": [H, W]}``,
            as numbers or packed into text.
        size: ``(H, W)`` of the image.

    Raises:
        ValueError: it is neither, or of another size.
    """
    if isinstance(segmentation, Mapping):
        if tuple(segmentation["size"]) != size:
            raise ValueError(f"runs of size {segmentation['size']} in an image of {list(size)}")
        counts = segmentation["counts"]
        return runs_mask(unpacked(counts) if isinstance(counts, str) else counts, size)
    canvas = Image.new("1", (size[1], size[0]))
    draw = ImageDraw.Draw(canvas)
    for polygon in segmentation:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} numbers")
        # Pillow's pixel centres lie at whole numbers, COCO's at halves.
        draw.polygon([(x - 0.5, y - 0.5) for x, y in zip(polygon[::2], polygon[1::2], strict=True)], fill=1)
    return np.asarray(canvas)


def runs_mask(counts: Sequence[int], size: tuple[int, int]) -> Mask:
    """A mask from the lengths of runs without and with the object in turn, column by column.

    Raises:
        ValueError: the runs do not fill the image.
    """
    if sum(counts) != size[0] * size[1] or min(counts, default=0) < 0:
        raise ValueError(f"runs of {sum(counts)} pixels in an image of {size[0] * size[1]}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def unpacked(text: str) -> list[int]:
    """The lengths of runs that are packed into text.

    Each is a signed number in groups of five bits, the lowest first, a character (48 added) a group, of which the
    sixth bit says that another follows; from the fourth on, a number is the difference to the last but one.
    """
    numbers: list[int] = []
    value, shift = 0, 0
    for character in text:
        group = ord(character) - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value, shift = 0, 0
    return numbers


def class_map(objects: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Class ids ``(H, W)`` of an image: the first object that covers a pixel has it, and 0 is background.

    Args:
        objects: ``class`` (an id from 1) and ``segmentation`` of each, in the order of the annotations.
        size: ``(H, W)``.
    """
    ids = np.zeros(size, np.uint8)
    for annotation in objects:
        ids[object_mask(annotation["segmentation"], size) & (ids == 0)] = annotation["class"]
    return ids
