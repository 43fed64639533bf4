"""Mirrors and turns of training patches.

The literature's ``RandomRotFlip`` (a turn by 0, 90, 180 or 270 degrees in the first two axes, then always one
flip along the first or the second) draws one of the four in-plane reflections with equal chance, as
``RandRotate90d(prob=0.75, max_k=3)`` followed by ``Flipd(spatial_axis=0)`` does. The scan as it is, on which
a network is tested, is none of them: every patch that the network learns from is a mirror image. ``"random"``
draws the identity as often as every other of its images.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, get_args

from monai.config import KeysCollection
from monai.transforms import Compose, Flipd, RandFlipd, RandRotate90d

from medssl.common.errors import InputError, unknown_name
from medssl.data.reading.orientation import parse_orientation

Flips = Literal["random", "published_rot_flip", "none"]
SQUARE_KEY = "in_plane_square"
"""Key of a bool: whether the voxels of a case are as long along the first axis as along the second."""


def mirrors_and_turns(
    kind: Flips,
    *,
    keys: KeysCollection = ("image", "label"),
    patch_size: Sequence[int],
    axes: Sequence[int] = (0, 1, 2),
    lateral_classes: bool = False,
    orientation: str | None = "RAS",
) -> Compose:
    """The mirrors and turns of a training, as one random transform of a cropped item.

    Args:
        kind: ``"random"``: an independent flip along each of ``axes`` with probability 0.5 and, where patch
            and voxels are square in the plane of the first two axes and both are flipped, a turn by a
            uniformly drawn multiple of 90 degrees; ``"published_rot_flip"``: the literature's, which never
            shows a scan as it is (for comparison with published numbers only); ``"none"``.
        keys: keys to transform alike; an item may lack some.
        patch_size: sides of the patch in voxels.
        axes: axes that ``"random"`` flips.
        lateral_classes: classes differ by side (left and right kidney): no flip along the axis that runs
            between left and right, and no turn, which may swap the sides as well.
        orientation: that of the scans, such as ``"RAS"``, which says which axis that is; None where every
            scan keeps its own.

    Raises:
        InputError: an unknown kind; ``"published_rot_flip"`` of a patch that is not square, which would be
            one fixed mirror image, or of lateral classes; lateral classes in scans without an orientation.
    """
    if kind not in get_args(Flips):
        raise unknown_name("flips", str(kind), get_args(Flips))
    if kind == "none":
        return Compose([])
    square = patch_size[0] == patch_size[1]
    if kind == "published_rot_flip":
        if not square or lateral_classes:
            fault = "swaps the sides of lateral classes" if lateral_classes else "needs a square patch"
            raise InputError("flips=published_rot_flip", fault, "use flips=random")
        turn = RandRotate90d(keys, prob=0.75, max_k=3, allow_missing_keys=True)
        return Compose([turn, Flipd(keys, spatial_axis=0, allow_missing_keys=True)])
    lateral = _lateral_axis(orientation) if lateral_classes else None
    flipped = [axis for axis in axes if axis != lateral]
    flips = [RandFlipd(keys, prob=0.5, spatial_axis=axis, allow_missing_keys=True) for axis in flipped]
    # A turn by 90 degrees puts one in-plane axis in the place of the other, a turn by 180 flips both.
    turns = [RandTurnSquared(keys)] if square and not lateral_classes and {0, 1} <= set(axes) else []
    return Compose([*flips, *turns])


def _lateral_axis(orientation: str | None) -> int:
    """The axis that runs between left and right."""
    letters = parse_orientation(orientation)
    if letters is None:
        raise InputError(
            "lateral_classes",
            "which axis runs from left to right is not known",
            "set orientation, such as RAS",
        )
    return next(axis for axis, code in enumerate(letters) if code in "LR")


class RandTurnSquared(RandRotate90d):  # type: ignore[misc]
    """A turn by 0, 90, 180 or 270 degrees in the plane of the first two axes, with equal chance.

    MONAI's turns whatever the voxels are; this one leaves an item alone whose :data:`SQUARE_KEY` is False,
    where a turn would stretch the anatomy. It draws in any case.

    Args:
        keys: keys to turn alike; an item may lack some.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys, prob=0.75, max_k=3, allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> Mapping[Hashable, Any]:
        """Turn."""
        if data.get(SQUARE_KEY, True):
            turned: Mapping[Hashable, Any] = super().__call__(data, lazy=lazy)
            return turned
        self.randomize()
        return data
