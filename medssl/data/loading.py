"""Loading images and labels with every fault of a file said in one line."""

import zlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import ImageReader, MetaTensor, NibabelReader
from monai.transforms import LoadImage, MapTransform
from torch import Tensor

from medssl.data.readers import H5Reader, SimpleITKReader
from medssl.errors import InputError

IMAGE_KEY = "image"

AFFINE_TOLERANCE = 0.05
"""How far, in voxels, a corner of the label may lie from the same corner of the image: writers round
orientations to 32 bits, which moves corners by thousandths of a voxel."""

INTEGER_TOLERANCE = 1e-3
"""How far a stored class id may be from a whole number: a scaled NIfTI stores 2 as 1.99999."""

DAMAGE = ("expected", "truncat", "eof", "end-of-stream", "unexpected end", "crc", "premature")
"""Words by which the libraries report a file that ends too early."""


class LoadCased(MapTransform):  # type: ignore[misc]
    """Load the files of one case: MONAI's ``LoadImage``, with checks and one-line errors.

    MONAI's ``LoadImaged`` answers a bad file with the tracebacks of every reader it tried, reads NRRD and
    MetaImage only with further packages, knows no HDF5, and does not compare a label with its image.

    Input: file names by key. ``image`` is a volume (or a list of files: one per channel); every other
    key (``label``, ``reference``) holds class ids. Formats: NIfTI, NRRD, MetaImage, and the field's HDF5,
    where the image key reads the dataset ``image`` and every other key the dataset ``label``.

    Output: ``image`` as float32 MetaTensor ``(C, X, Y, Z)``, the others ``(1, X, Y, Z)`` as uint8 (int32
    where an id exceeds 255), each with ``affine``, ``original_affine`` (RAS, mm) and ``filename_or_obj``.

    Args:
        keys: keys to load.
        allow_missing_keys: pass items that lack a key (unlabelled ones have no label).
        h5_spacing: voxel size in mm of HDF5 volumes, whose files do not say it.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        allow_missing_keys: bool = True,
        h5_spacing: float | Sequence[float] = 1.0,
    ) -> None:
        """Choose the keys."""
        super().__init__(keys, allow_missing_keys)
        self.h5_spacing = h5_spacing
        self._load = LoadImage(ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load and check.

        Raises:
            InputError: a file is missing, damaged, of an unknown format or no volume; an image holds NaN
                or infinity; a label holds other than class ids from 0, or differs from its image in shape
                or position.
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
                    _check_same_grid(image, item[key])
        return item

    def load_image(self, paths: Sequence[Path]) -> MetaTensor:
        """One image, float32 ``(C, X, Y, Z)``."""
        image = self._volume(paths, "image")
        values = image.as_tensor()
        if not torch.isfinite(values).all():
            nan, infinite = int(values.isnan().sum()), int(values.isinf().sum())
            counts = " and ".join(f"{n} {name}" for n, name in ((nan, "NaN"), (infinite, "infinite")) if n)
            raise InputError(
                paths[0],
                f"holds {counts} of {values.numel()} voxels",
                "replace them by the background value and save it again",
            )
        return image

    def load_label(self, paths: Sequence[Path]) -> MetaTensor:
        """One label map, uint8 (or int32) ``(1, X, Y, Z)``."""
        label = self._volume(paths, "label")
        values = label.as_tensor()
        if len(values) != 1:
            raise InputError(paths[0], f"is a label with {len(values)} channels", "save one map of class ids")
        rounded = values.round()
        # NaN compares false with everything, so it fails here as well.
        if not ((values - rounded).abs() <= INTEGER_TOLERANCE).all():
            raise InputError(
                paths[0],
                "is a label with values that are not whole numbers",
                "save class ids; resample labels with nearest neighbour",
            )
        low, high = rounded.aminmax()
        if low < 0:
            raise InputError(paths[0], f"is a label with the negative id {int(low)}", "number classes from 0")
        return MetaTensor(rounded.to(torch.uint8 if high <= 255 else torch.int32)).copy_meta_from(label)

    def _volume(self, paths: Sequence[Path], dataset: str) -> MetaTensor:
        for path in paths:
            _check_file(path)
        path = paths[0]
        reader = _reader(path, dataset, self.h5_spacing)
        if reader is None:
            raise InputError(path, "is of no known format", "save it as .nii.gz, .nii, .nrrd, .mha or .h5")
        try:
            volume = self._load([str(path) for path in paths], reader=reader)
        except (InputError, MemoryError):
            raise
        except Exception as error:  # every library raises its own kinds; none is of use to a user
            raise _unreadable(path, error) from error
        if volume.ndim != 4 or min(volume.shape[1:]) < 2:
            shape = " x ".join(str(size) for size in volume.shape[1:])
            raise InputError(path, f"is not a volume (its shape is {shape})", "a volume has three axes")
        affine = volume.affine.numpy()
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise InputError(path, "has an affine or spacing that cannot be inverted", "repair its header")
        volume.set_array(volume.as_tensor().contiguous())
        return volume


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise InputError(
            path, "no such file", "correct the path or the base folder of the datalist"
        ) from error
    except OSError as error:
        raise InputError(
            path, f"cannot be opened ({error.strerror})", "check the path and its permissions"
        ) from error
    if path.is_dir():
        raise InputError(path, "is a folder", "name a file; convert a DICOM series to NIfTI first")
    if size == 0:
        raise InputError(path, "is empty (0 bytes)", "copy it again from its source")


def _reader(path: Path, dataset: str, spacing: float | Sequence[float]) -> ImageReader | None:
    """A new reader for the format of ``path``; MONAI's remember what they read, so threads share none."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return NibabelReader(squeeze_non_spatial_dims=True)
    if name.endswith(H5Reader.suffixes):
        return H5Reader(dataset=dataset, spacing=spacing)
    return SimpleITKReader() if name.endswith(SimpleITKReader.suffixes) else None


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, PermissionError):
        return InputError(path, "cannot be opened (permission denied)", "check its permissions")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1][:160] if lines else type(error).__name__
    if isinstance(error, (EOFError, zlib.error)) or any(word in str(error).lower() for word in DAMAGE):
        return InputError(path, f"is truncated or damaged ({reason})", "copy it again from its source")
    return InputError(
        path, f"cannot be read ({reason})", "see that it is what its name says, or export it again"
    )


def _check_same_grid(image: MetaTensor, label: MetaTensor) -> None:
    where, other = label.meta["filename_or_obj"], Path(image.meta["filename_or_obj"]).name
    if image.shape[1:] != label.shape[1:]:
        raise InputError(
            where,
            f"is {_times(label)} voxels, its image {other} {_times(image)}",
            "resample the label to the image's grid",
        )
    last = torch.tensor(image.shape[1:], dtype=torch.float64) - 1
    corners = torch.cartesian_prod(*(torch.stack([torch.zeros_like(n), n]) for n in last))
    corners = torch.cat([corners, torch.ones(8, 1, dtype=torch.float64)], dim=1)
    change = (label.affine - image.affine).to(torch.float64)
    moved = (corners @ change.T)[:, :3].norm(dim=1).max()
    voxel = image.affine[:3, :3].norm(dim=0).min()
    if moved > AFFINE_TOLERANCE * voxel:
        raise InputError(
            where,
            f"lies elsewhere than its image {other} (a corner is {moved:.3g} mm away: affines differ)",
            "resample it to the image's grid, or correct its header",
        )


def _times(volume: Tensor) -> str:
    return " x ".join(str(size) for size in volume.shape[1:])
