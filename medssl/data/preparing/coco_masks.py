"""Masks of the objects in COCO's annotations, without pycocotools.

Outlines and run-length codes are short enough to read that no compiled package is needed for them. That one
rounds outlines on a grid five times as fine; here a pixel belongs to an object that holds its centre. The two
differ along outlines only. (Pillow's polygons grow by up to a pixel on every side.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def object_mask(segmentation: Any, size: tuple[int, int]) -> Mask:
    """The mask of one object.

    Args:
        segmentation: polygons ``[[x, y, x, y, ...], ...]`` in pixels, or runs ``{"counts": ..., "size":
            [H, W]}``, as numbers or packed into text.
        size: ``(H, W)`` of the image.

    Raises:
        ValueError: it is neither, or of another size.
    """
    if isinstance(segmentation, Mapping):
        if tuple(segmentation["size"]) != size:
            raise ValueError(f"runs of size {segmentation['size']} in an image of {list(size)}")
        counts = segmentation["counts"]
        return runs_mask(unpacked(counts) if isinstance(counts, str) else counts, size)
    mask = np.zeros(size, bool)
    for polygon in segmentation:
        mask |= polygon_mask(np.asarray(polygon, np.float64), size)
    return mask


def polygon_mask(polygon: NDArray[np.float64], size: tuple[int, int]) -> Mask:
    """The pixels whose centres lie in a polygon ``(x, y, x, y, ...)``, by the even-odd rule.

    Raises:
        ValueError: fewer than three corners, or half a one.
    """
    if len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"a polygon of {len(polygon)} numbers")
    first = polygon.reshape(-1, 2)
    second = np.roll(first, -1, axis=0)
    crossings = np.zeros((size[0], size[1] + 1), np.int64)
    for (x1, y1), (x2, y2) in zip(first, second, strict=True):
        low, high = np.clip(np.ceil(np.sort([y1, y2]) - 0.5), 0, size[0]).astype(int)
        if low < high:  # rows whose centres the edge crosses
            rows = np.arange(low, high)
            x = x1 + (rows + 0.5 - y1) * ((x2 - x1) / (y2 - y1))
            np.add.at(crossings, (rows, np.clip(np.ceil(x - 0.5), 0, size[1]).astype(int)), 1)
    mask: Mask = np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
    return mask


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

    Each is a signed number in groups of five bits, the lowest first, a character (48 added) a group, of
    which the sixth bit says that another follows; from the fourth on, a number is the difference to the
    last but one.
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
