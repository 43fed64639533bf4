"""Rules of what a batch holds: flips that are safe, and patches around rare classes."""

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medssl.planning.fingerprint import Fingerprint
from medssl.planning.measures import CaseMeasures

AXES = ("left and right", "front and back", "head and foot")
SIDE_WORD = re.compile(r"(?:^|[\s_.-])(left|right|lt|rt|l|r)(?=$|[\s_.-])", re.IGNORECASE)

APART = 0.25
"""How far, as a share of their mean extent, the centres of two classes lie apart to count as on two sides."""

OFTEN_ENOUGH = 0.5
"""Share of random patches that should show a class."""

NNUNET_SHARE = 0.33
"""nnU-Net's share of patches that lie around foreground."""

RARE = 0.2
RARE_SHARE = 0.67
"""Of classes that fewer than a fifth of random patches show. Ours."""


def lateral_names(names: Sequence[str]) -> list[str]:
    """Classes whose name says a side, such as ``left kidney``, ``kidney_l`` or ``Right-Hippocampus``."""
    return [name for name in names if SIDE_WORD.search(name)]


def unsafe_axes(fingerprint: Fingerprint) -> dict[int, str]:
    """Axes along which a mirrored scan would show anatomy that there is not, and why.

    Ours: an axis is unsafe where in every labelled case that shows both of two classes the one lies on the
    same side of the other, by :data:`APART` of their mean extent at least. With one labelled case that cannot
    be told from chance, and counts.
    """
    unsafe: dict[int, str] = {}
    numbers = sorted({number for case in fingerprint.labeled for number in case.classes})
    for first, second in combinations(numbers, 2):
        pairs = [
            (case.classes[first], case.classes[second])
            for case in fingerprint.labeled
            if first in case.classes and second in case.classes
        ]
        for axis in range(3 if pairs else 0):
            words = f" ({AXES[axis]})" if all(case.oriented for case in fingerprint.cases) else ""
            apart = [
                (b.centroid[axis] - a.centroid[axis]) / ((a.extent[axis] + b.extent[axis]) / 2)
                for a, b in pairs
            ]
            if min(apart) > APART or max(apart) < -APART:
                names = (fingerprint.class_names[number] for number in (first, second))
                a, b = names
                unsafe.setdefault(axis, f"{b} always lies on the same side of {a} along axis {axis}{words}")
    return unsafe


def flips(fingerprint: Fingerprint, *, oriented: bool) -> tuple[list[int], bool, str]:
    """Axes that may be flipped, whether classes are lateral, and why.

    Ours; nnU-Net mirrors along every axis, whatever the classes are.

    Args:
        fingerprint: of the data set.
        oriented: whether it is known which axis runs between left and right.
    """
    unsafe = unsafe_axes(fingerprint)
    lateral = lateral_names(fingerprint.class_names[1:])
    reasons = [unsafe[axis] for axis in sorted(unsafe)]
    if lateral:
        reasons.append(f"{lateral[0]} names a side")
        if oriented:
            unsafe.setdefault(0, "lateral")
    if lateral and not oriented:
        return [], False, f"{lateral[0]} names a side, and which axis runs from left to right is not known"
    safe = [axis for axis in range(3) if axis not in unsafe]
    return safe, bool(lateral), "; ".join(reasons) or "no class tells one side of the scan from the other"


def class_shares(fingerprint: Fingerprint, patch_mm: Sequence[float], *, cropped: bool) -> dict[str, float]:
    """Share of random patches that show each class, over the labelled cases that have it, by its name.

    Args:
        fingerprint: of the data set.
        patch_mm: extent of the patch.
        cropped: whether scans are cropped before patches are drawn.
    """
    shares: dict[int, list[float]] = {}
    for case in fingerprint.labeled:
        for number, share in zip(sorted(case.classes), _shares(case, patch_mm, cropped), strict=True):
            shares.setdefault(number, []).append(share)
    return {fingerprint.class_names[number]: float(np.mean(shares[number])) for number in sorted(shares)}


def oversampling(shares: dict[str, float]) -> tuple[float, str]:
    """Share of labelled patches that lie around a voxel of a foreground class, and why.

    Source: nnU-Net takes a third of its patches around foreground, always; here only where random patches
    miss a class, since a patch as large as the scan has no choice.
    """
    if not shares:
        return 0.0, "no labelled case shows a class"
    rarest = min(shares, key=lambda name: shares[name])
    words = f"{shares[rarest]:.0%} of random patches show {rarest}"
    if shares[rarest] >= OFTEN_ENOUGH:
        return 0.0, f"{words}, which is often enough"
    return (NNUNET_SHARE if shares[rarest] >= RARE else RARE_SHARE), words


def _shares(case: CaseMeasures, patch_mm: Sequence[float], cropped: bool) -> list[float]:
    """Share of all places of a patch in a case that show each of its classes."""
    cells = case.cells
    if cells is None:
        return []
    counts = cells.shape[1:]
    sides = []
    for axis, (count, size) in enumerate(zip(counts, case.size, strict=True)):
        start, stop = case.box[axis] if cropped else (0, size)
        first, last = start * count // size, -(-stop * count // size)
        cells = cells.take(range(first, last), axis=axis + 1)
        whole = (stop - start) * case.spacing[axis]
        sides.append(min(max(1, round(patch_mm[axis] / whole * (last - first))), last - first))
    return [float((_sums(plane, sides) > 0).mean()) for plane in cells]


def _sums(cells: NDArray[np.bool_], sides: Sequence[int]) -> NDArray[np.int64]:
    """Sum over the box of these sides at every place."""
    sums = cells.astype(np.int64)
    for axis, side in enumerate(sides):
        padded = np.insert(sums.cumsum(axis=axis), 0, 0, axis=axis)
        length = padded.shape[axis]
        sums = padded.take(range(side, length), axis=axis) - padded.take(range(length - side), axis=axis)
    return sums
