"""Where training patches are drawn: anywhere, or more often where a rare class is."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandCropByLabelClassesd, Randomizable, RandSpatialCropd, Transform

from medssl.common.errors import InputError

LABELED_KEY = "is_labeled"
"""Key of a bool: whether an item is a labelled case. Others may hold a map of their padding as a label."""

_GUIDE = "guide_of_crop"


def random_patch(
    patch_size: Sequence[int],
    *,
    num_classes: int,
    oversampled: float = 0.0,
    keys: KeysCollection = ("image", "label"),
) -> Transform:
    """The crop of a training case to a patch, at a place drawn at random.

    Args:
        patch_size: its sides in voxels; cases are at least as large.
        num_classes: classes, background included.
        oversampled: share of the patches of labelled cases that lie around a voxel of a foreground class;
            unlabelled ones, of which nobody knows where a class is, lie anywhere.
        keys: keys to crop alike; an item may lack some.

    Raises:
        InputError: a share outside [0, 1].
    """
    if not 0 <= oversampled <= 1:
        raise InputError(f"oversampling={oversampled}", "is no share", "give a number from 0 to 1")
    if oversampled == 0:
        return RandSpatialCropd(keys, roi_size=patch_size, random_size=False, allow_missing_keys=True)
    return RandCropOftenAroundClassesd(keys, patch_size, num_classes=num_classes, oversampled=oversampled)


class RandCropOftenAroundClassesd(Randomizable, MapTransform):  # type: ignore[misc]
    """A patch that often lies around a voxel of a foreground class, each class equally often.

    MONAI has a crop anywhere and one around classes, which gives a list and needs a label; this draws which
    of the two, and leaves unlabelled items to the first.

    Args:
        keys: keys to crop alike; an item may lack some.
        patch_size: sides in voxels; items are at least as large.
        num_classes: classes, background included.
        oversampled: the probability.
        label_key: key of the class ids, the first channel of ``(C, *S)``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        patch_size: Sequence[int],
        *,
        num_classes: int,
        oversampled: float,
        label_key: str = "label",
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.num_classes, self.oversampled, self.label_key = num_classes, oversampled, label_key
        self.anywhere = RandSpatialCropd(
            keys, roi_size=patch_size, random_size=False, allow_missing_keys=True
        )
        self.around_classes = RandCropByLabelClassesd(
            keys,
            label_key=_GUIDE,
            spatial_size=patch_size,
            ratios=[0, *[1] * (num_classes - 1)],
            num_classes=num_classes,
            allow_missing_keys=True,
            warn=False,
        )

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> "RandCropOftenAroundClassesd":
        """Seed this draw and those of the place."""
        super().set_random_state(seed, state)
        for crop in (self.anywhere, self.around_classes):
            crop.set_random_state(seed=int(self.R.randint(2**31)))
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop."""
        wanted = self.R.rand() < self.oversampled
        if wanted and data.get(LABELED_KEY, True) and self.label_key in data:
            label = data[self.label_key][:1]  # other maps that move with it are further channels
            if ((label > 0) & (label < self.num_classes)).any():
                cropped: dict[Hashable, Any] = self.around_classes({**data, _GUIDE: label})[0]
                del cropped[_GUIDE]
                return cropped
        anywhere: dict[Hashable, Any] = self.anywhere(data)
        return anywhere
