"""Class maps from the objects in COCO's annotations, drawn by pycocotools."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl.common.errors import InputError

Mask = NDArray[np.bool_]


def object_mask(segmentation: Any, size: tuple[int, int]) -> Mask:
    """The mask of one object.

    Args:
        segmentation: polygons ``[[x, y, x, y, ...], ...]`` in pixels, or runs ``{"counts": ..., "size":
            [H, W]}``, as numbers or packed into text.
        size: ``(H, W)`` of the image.

    Raises:
        ValueError: it is neither, or of another size.
        InputError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise InputError("pycocotools", "is not installed", "pip install 'medssl[coco]'") from error

    if isinstance(segmentation, Mapping):
        if tuple(segmentation["size"]) != size:
            raise ValueError(f"runs of size {segmentation['size']} in an image of {list(size)}")
        runs = segmentation["counts"]
        # What is checked here, pycocotools takes on trust and reads beyond its memory.
        if not isinstance(runs, str) and (sum(runs) != size[0] * size[1] or min(runs, default=0) < 0):
            raise ValueError(f"runs of {sum(runs)} pixels in an image of {size[0] * size[1]}")
        packed = segmentation if isinstance(runs, str) else coco.frPyObjects(segmentation, *size)
    else:
        for polygon in segmentation:
            if len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(f"a polygon of {len(polygon)} numbers")
        packed = coco.merge(coco.frPyObjects([list(map(float, p)) for p in segmentation], *size))
    mask: Mask = coco.decode(packed).astype(bool)
    return mask


def class_map(objects: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Class ids ``(H, W)`` of an image: the first object that covers a pixel has it, and 0 is background.

    Args:
        objects: ``class`` (an id from 1) and ``segmentation`` of each, in the order of the annotations.
        size: ``(H, W)``.

    Raises:
        ValueError: as :func:`object_mask`, which also raises the InputError.
    """
    ids = np.zeros(size, np.uint8)
    for annotation in objects:
        ids[object_mask(annotation["segmentation"], size) & (ids == 0)] = annotation["class"]
    return ids
