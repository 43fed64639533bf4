"""Names and colours of classes, for ITK-SNAP, 3D Slicer and the pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.common.errors import InputError
from medssl.common.files import write_text

PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Okabe and Ito's colours, which people with a colour-vision deficiency can tell apart (2008)."""


@dataclass(frozen=True)
class SegmentClass:
    """A class that is segmented.

    Attributes:
        label: its id, from 1.
        name: what reviewers call it.
        color: red, green and blue in 0 to 255.
    """

    label: int
    name: str
    color: tuple[int, int, int]


def segment_classes(num_classes: int, names: Mapping[int, str] | None = None) -> tuple[SegmentClass, ...]:
    """The classes from 1 to ``num_classes - 1``; those without a name are called ``class 1`` and so on.

    Raises:
        InputError: a name for a class that there is not.
    """
    names = names or {}
    if max(names, default=0) >= num_classes:
        raise InputError("class names", f"are {len(names)}", f"give {num_classes - 1}")
    return tuple(
        SegmentClass(k, names.get(k, f"class {k}"), PALETTE[(k - 1) % len(PALETTE)])
        for k in range(1, num_classes)
    )


def write_label_tables(folder: str | Path, classes: Sequence[SegmentClass]) -> None:
    """Write ``labels.txt`` (ITK-SNAP's label description) and ``labels.ctbl`` (3D Slicer's colour table)."""
    snap = ["# ITK-SnAP label description: id, red, green, blue, opacity, visible, in 3D, name"]
    snap.append('    0     0    0    0        0  0  0    "background"')
    slicer = ["# 3D Slicer colour table: id, name, red, green, blue, opacity", "0 background 0 0 0 0"]
    for segment in classes:
        red, green, blue = segment.color
        name = segment.name.replace('"', "'")
        snap.append(f'{segment.label:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{name}"')
        # The format separates by blanks; Slicer shows an underscore in a name as it is.
        slicer.append(f"{segment.label} {name.replace(' ', '_')} {red} {green} {blue} 255")
    write_text(Path(folder) / "labels.txt", "\n".join(snap) + "\n")
    write_text(Path(folder) / "labels.ctbl", "\n".join(slicer) + "\n")
