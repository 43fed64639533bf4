"""Class ids of a file that stand for other class ids, such as BraTS's 4 for 3."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssl.common.errors import InputError

LabelMap = dict[int, int]
"""Stored class id to the class id that it stands for."""

REMEDY = 'write {"4": 3}: stored id to class id, both whole numbers, the class id from 0'


def parse_label_map(mapping: Mapping[Any, Any] | None) -> LabelMap:
    """A label map from a config or a JSON file, whose keys are text; empty for None.

    Raises:
        InputError: not a mapping, an id that is no whole number, a negative class id, or a stored id twice.
    """
    if mapping is None:
        return {}
    if not isinstance(mapping, Mapping):
        raise InputError("label_map", f"{mapping!r} is no mapping", REMEDY)
    label_map: LabelMap = {}
    for key, value in mapping.items():
        stored, target = _whole(key), _whole(value)
        if stored is None or target is None or target < 0:
            raise InputError("label_map", f"{key!r}: {value!r} is no pair of class ids", REMEDY)
        if stored in label_map:
            raise InputError("label_map", f"names the stored id {stored} twice", "keep one of them")
        label_map[stored] = target
    return label_map


def remap(label: Tensor, label_map: Mapping[int, int]) -> Tensor:
    """Class ids after the map, all at once (``{1: 2, 2: 1}`` swaps); ids that it does not name stay."""
    remapped = label.clone()
    for stored, target in label_map.items():
        remapped[label == stored] = target
    return remapped


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        return int(value)
    except ValueError:
        return None
