"""Spacing, size, intensity and class volume of each list of a data set, in numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medssl.common.constants import IGNORE
from medssl.data.checks.case import CheckedCase
from medssl.data.checks.volumes import SIZE_UNITS
from medssl.data.lists.datalist import LISTS

Spread = dict[str, float]
"""``min``, ``median`` and ``max``."""


def set_statistics(cases: Sequence[CheckedCase], class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Statistics of each list with a case, and of ``all`` together; plain JSON values.

    Args:
        cases: all cases, opened. Those that could not be read are counted as ``unreadable``.
        class_names: names of the class ids 0, 1, ...

    Returns:
        By list: ``cases``, ``unreadable``, ``spacing_mm`` (not of 2D images) and ``size`` (a spread of each
        axis), and of the intensities the spread over cases of ``minimum``, ``mean``, ``std`` and
        ``maximum``; ``class_ml`` (of 2D images ``class_pixels``) holds for each class id its name, the number
        of cases that show it, and the spread of its size over those.
    """
    names = [name for name in LISTS if any(case.split == name for case in cases)]
    result = {name: _one([c for c in cases if c.split == name], class_names) for name in names}
    if len(names) > 1:
        result["all"] = _one(cases, class_names)
    return result


def _one(cases: Sequence[CheckedCase], class_names: Sequence[str] | None) -> dict[str, Any]:
    scans = [case.scan for case in cases if case.scan is not None]
    result: dict[str, Any] = {"cases": len(cases), "unreadable": len(cases) - len(scans)}
    if not scans:
        return result
    axes = min(len(scan.size) for scan in scans)
    if axes == 3:
        result["spacing_mm"] = [_spread([scan.spacing[axis] for scan in scans]) for axis in range(3)]
    result["size"] = [_spread([scan.size[axis] for scan in scans]) for axis in range(axes)]
    result["channels"] = sorted({scan.channels for scan in scans})
    intensities = [scan.intensities for scan in scans if scan.intensities is not None]
    if intensities:
        result["intensity"] = {
            "minimum": _spread([values.low for values in intensities]),
            "mean": _spread([values.mean for values in intensities]),
            "std": _spread([values.std for values in intensities]),
            "maximum": _spread([values.high for values in intensities]),
        }
    labels = [scan.class_sizes for scan in scans if scan.class_sizes is not None]
    result["labels"] = len(labels)
    # Of many sets of images class 0 is a class like others, such as road.
    hidden = {0} if axes == 3 or class_name(0, class_names) == "background" else set()
    shown = sorted({number for sizes in labels for number in sizes} - hidden)
    result[f"class_{SIZE_UNITS[axes]}"] = {
        str(number): {
            "name": class_name(number, class_names),
            "cases": sum(number in sizes for sizes in labels),
            **_spread([sizes[number] for sizes in labels if number in sizes]),
        }
        for number in shown
    }
    return result


def class_name(number: int, names: Sequence[str] | None) -> str:
    """The name of a class id; ``class 7`` where it has none, and 255 is what nobody labelled."""
    if names is not None and 0 <= number < len(names):
        return names[number]
    return "not labelled" if number == IGNORE else f"class {number}"


def _spread(values: Sequence[float]) -> Spread:
    return {
        "min": float(np.min(values)),
        "median": float(np.median(values)),
        "max": float(np.max(values)),
    }
