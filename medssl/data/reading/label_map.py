"""Class ids of a file that stand for other class ids, such as BraTS's 4 for 3."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssl.common.errors import InputError

LabelMap = dict[int, int]
"""Stored class id to the class id that it stands for."""

REMEDY = 'write {"4": 3}: stored id to class id, both whole numbers, the class id from 0'


def parse_label_map(given: Mapping[Any, Any] | None) -> LabelMap:
    """A label map from a config or a JSON file, whose keys are text; empty for None.

    Raises:
        InputError: not a mapping, an id that is no whole number, a negative class id, or a stored id twice.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError("label_map", f"{given!r} is no mapping", REMEDY)
    result: LabelMap = {}
    for key, value in given.items():
        stored, target = _whole(key), _whole(value)
        if stored is None or target is None or target < 0:
            raise InputError("label_map", f"{key!r}: {value!r} is no pair of class ids", REMEDY)
        if stored in result:
            raise InputError("label_map", f"names the stored id {stored} twice", "keep one of them")
        result[stored] = target
    return result


def remap(label: Tensor, label_map: Mapping[int, int]) -> Tensor:
    """Class ids after the map, all at once (``{1: 2, 2: 1}`` swaps); ids that it does not name stay."""
    result = label.clone()
    for stored, target in label_map.items():
        result[label == stored] = target
    return result


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        return int(value)
    except ValueError:
        return None
