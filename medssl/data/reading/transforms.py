"""Transforms that MONAI lacks.

The literature's ``RandomCrop`` needs none: it is ``SpatialPadd`` and ``RandSpatialCropd``. It pads three
voxels more per side where an axis is no longer than the patch (none is in the canonical data sets) and
never draws the last start of an axis.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Crop, Cropd, CropForegroundd, MapTransform
from monai.utils import convert_to_tensor


class CropToBoxd(Cropd):  # type: ignore[misc]
    """Crop to the box that an item carries (see :func:`medssl.data.add_reference_boxes`).

    MONAI crops to boxes given once for all items or found in the image; this one differs from item to
    item. An item without a box passes unchanged. Invertible, so that a prediction goes back to the whole
    volume.

    Args:
        keys: keys to crop.
        box_key: key of the box, ``[start, stop]`` for each axis in voxels of the stored array.
        allow_missing_keys: pass items that lack a key.
    """

    def __init__(
        self, keys: KeysCollection, *, box_key: str = "roi", allow_missing_keys: bool = True
    ) -> None:
        super().__init__(keys, cropper=Crop(), allow_missing_keys=allow_missing_keys)
        self.box_key = box_key

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Crop.

        Raises:
            ValueError: the volume is no longer the stored array (a transform before this one moved it), or
                the box does not lie in it.
        """
        item = dict(data)
        box = item.get(self.box_key)
        if box is None:
            return item
        lazy_ = self.lazy if lazy is None else lazy
        slices = tuple(slice(int(start), int(stop)) for start, stop in box)
        for key in self.key_iterator(item):
            volume = item[key]
            if isinstance(volume, MetaTensor) and not torch.allclose(
                volume.affine.double(), torch.as_tensor(volume.meta["original_affine"]).double()
            ):
                raise ValueError(f"CropToBoxd must stand before all that moves or resamples {key!r}")
            if any(
                not 0 <= s.start < s.stop <= size for s, size in zip(slices, volume.shape[1:], strict=True)
            ):
                raise ValueError(f"box {box} does not lie in {key!r} of shape {tuple(volume.shape[1:])}")
            item[key] = self.cropper(volume, slices=slices, lazy=lazy_)
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put a volume back into the whole array; what was not cropped passes unchanged.

        The box itself is not needed (MONAI's ``Invertd`` hands over the volume alone): the crop is the last
        operation that the volume remembers.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            done = item[key].applied_operations
            if done and done[-1]["class"] == type(self.cropper).__name__:
                item[key] = self.cropper.inverse(item[key])
        return item


class NormalizeByForegroundd(MapTransform):  # type: ignore[misc]
    """Z-score of every voxel by mean and deviation of the voxels above zero, as published for BraTS.

    MONAI's ``NormalizeIntensityd(nonzero=True)`` takes the same statistics but leaves the background at 0,
    which after normalisation is the mean of the brain; here the background is the darkest value.

    Args:
        keys: keys to normalise, ``(C, *S)``; each channel by itself.
        allow_missing_keys: pass items that lack a key.
    """

    def __init__(self, keys: KeysCollection, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise; a channel with nothing above zero, or of one value, is only shifted."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = convert_to_tensor(item[key], dtype=torch.float32, track_meta=True)
            channels = []
            for channel in image.as_tensor():
                inside = channel[channel > 0]
                if not len(inside):
                    inside = channel.flatten()
                deviation = inside.std(correction=0)
                channels.append((channel - inside.mean()) / torch.where(deviation > 0, deviation, 1.0))
            item[key] = MetaTensor(torch.stack(channels)).copy_meta_from(image)
        return item


class CropAboveMinimumd(CropForegroundd):  # type: ignore[misc]
    """Crop to the voxels above the image's minimum, which needs no label.

    MONAI's ``CropForegroundd`` crops to values above 0 unless it is given a function, which no checkpoint can
    hold.

    Args:
        keys: keys to crop.
        source_key: key of the image that says where.
        allow_missing_keys: pass items that lack a key.
    """

    def __init__(self, keys: KeysCollection, *, source_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, source_key, select_fn=_above_minimum, allow_missing_keys=allow_missing_keys)


def _above_minimum(values: torch.Tensor) -> torch.Tensor:
    return values > values.min()
