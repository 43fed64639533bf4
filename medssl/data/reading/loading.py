"""Loading images and labels with every fault of a file said in one line."""

import logging
import warnings
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform

from medssl.common.errors import InputError
from medssl.data.checks.findings import CaseError, refuse
from medssl.data.checks.opening import check_file, unreadable
from medssl.data.checks.volumes import class_faults, grid_faults, image_faults, label_faults, volume_faults
from medssl.data.reading.formats import format_of
from medssl.data.reading.label_map import LabelMap, parse_label_map, remap

IMAGE_KEY = "image"

SCAN_SHAPE = "scan_shape"
"""Key of a volume's metadata: the three sides of the array in its file, whatever is cropped later."""


class LoadCased(MapTransform):  # type: ignore[misc]
    """Load the files of one case: MONAI's ``LoadImage``, with checks and one-line errors.

    MONAI's ``LoadImaged`` answers a bad file with the tracebacks of every reader it tried, reads NRRD and
    MetaImage only with further packages, knows no HDF5, and does not compare a label with its image.

    Input: file names by key. ``image`` is a volume (or a list of files: one per channel); every other
    key (``label``, ``reference``) holds class ids. Formats: :data:`medssl.data.reading.formats.FORMATS`; of
    the field's HDF5 the image key reads the dataset ``image`` and every other key the dataset ``label``. A
    fourth axis of a volume (4D NIfTI, vector NRRD) holds channels, and so do the colours of a 2D image.

    Output: ``image`` as float32 MetaTensor ``(C, *S)``, the others ``(1, *S)`` as uint8 (int32 where an id
    exceeds 255), each with ``affine``, ``original_affine`` (RAS, mm; the identity in 2D), ``scan_shape`` and
    ``filename_or_obj``; ``*S`` is ``(X, Y, Z)`` or ``(H, W)``.

    Args:
        keys: keys to load.
        allow_missing_keys: pass items that lack a key (unlabelled ones have no label).
        h5_spacing: voxel size in mm of HDF5 volumes, whose files do not say it.
        label_map: stored class id to the id that it stands for (``{4: 3}``; keys may be text, as in JSON);
            ids that it does not name stay as they are. None changes nothing.
        in_channels: channels that every image must have; None for any number.
        num_classes: class ids must be below this (or 255: voxels that nobody labelled); None for any id.
        max_intensity: stored value of white, such as 255: an image with a larger one is refused, since it
            is of more bits than those that it would be scaled with; None for any value.

    Raises:
        InputError: ``label_map`` is no map of class ids.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        allow_missing_keys: bool = True,
        h5_spacing: float | Sequence[float] = 1.0,
        label_map: Mapping[Any, Any] | None = None,
        in_channels: int | None = None,
        num_classes: int | None = None,
        max_intensity: float | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.h5_spacing = h5_spacing
        self.label_map: LabelMap = parse_label_map(label_map)
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.max_intensity = max_intensity
        with warnings.catch_warnings():
            # It makes all its readers, and one of them warns where a GPU's decoder is missing.
            warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
            logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
            self._load = LoadImage(ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load and check.

        Raises:
            InputError: a file is missing, damaged, of an unknown format or no volume; an image holds NaN,
                infinity, one value only or one above ``max_intensity``, or has other than ``in_channels``
                channels; a label holds other than class ids below ``num_classes``, or differs from its image
                in shape or position. The words are those of ``medssl check``.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            source = item[key]
            paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(file) for file in source]
            item[key] = self.load_image(paths) if key == IMAGE_KEY else self.load_label(paths)
        image = item.get(IMAGE_KEY)
        if isinstance(image, MetaTensor):
            for key in self.key_iterator(item):
                if key != IMAGE_KEY:
                    refuse(grid_faults(image, item[key]))
        return item

    def load_image(self, paths: Sequence[Path]) -> MetaTensor:
        """One image, float32 ``(C, *S)``."""
        image = self.volume(paths, "image")
        refuse(image_faults(image, channels=self.in_channels, max_intensity=self.max_intensity))
        return image

    def load_label(self, paths: Sequence[Path]) -> MetaTensor:
        """One label map, uint8 (or int32) ``(1, *S)``."""
        stored = self.volume(paths, "label")
        refuse(label_faults(stored))
        label = self.class_ids(stored)
        refuse(class_faults(label, num_classes=self.num_classes, mapped=bool(self.label_map)))
        return label

    def class_ids(self, stored: MetaTensor) -> MetaTensor:
        """Class ids, uint8 (or int32 where one is negative or above 255), of a label map as stored."""
        ids = stored.as_tensor().round()
        if self.label_map:
            ids = remap(ids, self.label_map)
        low, high = ids.aminmax()
        small = low >= 0 and high <= 255
        return MetaTensor(ids.to(torch.uint8 if small else torch.int32)).copy_meta_from(stored)

    def volume(self, paths: Sequence[Path], dataset: str) -> MetaTensor:
        """An image or label as stored, float32 ``(C, *S)``; its values are not looked at.

        Args:
            paths: one file, or one per channel.
            dataset: ``image`` or ``label``, which some formats read differently.

        Raises:
            InputError: a file is missing, damaged, of an unknown format or no volume.
        """
        for path in paths:
            check_file(path)
        path = paths[0]
        file_format = format_of(path)
        if file_format is None:
            remedy = "save it as .nii.gz, or in 2D as .png"
            raise CaseError("unknown-format", path, "is of no known format", remedy)
        if file_format.lossy and dataset != "image":
            fault = f"is a label as {file_format.name}, whose compression changes class ids"
            raise CaseError("label-values", path, fault, "save labels as .png")
        reader = file_format.make_reader(dataset=dataset, spacing=self.h5_spacing)
        try:
            volume = self._load([str(path) for path in paths], reader=reader)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # every library raises its own kinds; none is of use to a user
            for channel in paths if len(paths) > 1 else ():
                self.volume([channel], dataset)  # raises for the file at fault, where it is a single one
            raise unreadable(path, error) from error
        refuse(volume_faults(volume, axes=file_format.axes))
        volume.set_array(volume.as_tensor().contiguous())
        volume.meta[SCAN_SHAPE] = np.asarray(volume.shape[1:])
        return volume
