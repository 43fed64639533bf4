"""MONAI image readers for what MONAI reads not at all, or only with packages that we do without.

NRRD, MetaImage and DICOM series: MONAI's own readers of these need ``itk``, ``pynrrd`` or ``pydicom``. It
knows no HDF5, and of PNG and JPEG it gives columns before rows and an affine of three rows.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import SimpleITK as sitk
from monai.data import ImageReader
from monai.data.utils import orientation_ras_lps
from numpy.typing import NDArray
from PIL import Image

from medssl.common.errors import InputError
from medssl.data.reading.enhanced_dicom import read_frames

SLICE_TOLERANCE = 0.1
"""How far the distance between two slices may be from the usual one, as a share of it: positions are stored
as rounded decimals."""


class Volume(NamedTuple):
    """One image as its file holds it.

    Attributes:
        array: ``(X, Y, Z)`` or, in 2D, ``(H, W)``; with the channels last where voxels are vectors.
        affine: 4 x 4 from voxel index to millimetres, RAS.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]


class VolumeReader(ImageReader):  # type: ignore[misc]
    """What the readers below share: suffixes, several files as channels, MONAI's metadata."""

    suffixes: tuple[str, ...]
    axes = 3

    @abstractmethod
    def volume(self, path: Path) -> Volume:
        """The volume in one file; raises whatever its library raises."""

    def verify_suffix(self, filename: Sequence[str | Path] | str | Path) -> bool:
        """Whether all names end in a suffix of this format."""
        return all(path.name.lower().endswith(self.suffixes) for path in _paths(filename))

    def read(self, data: Sequence[str | Path] | str | Path, **kwargs: object) -> list[Volume]:
        """Read one file, or several as channels of one image."""
        return [self.volume(path) for path in _paths(data)]

    def get_data(self, img: list[Volume]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Array and metadata as MONAI's ``LoadImage`` expects them.

        Raises:
            ValueError: several files that differ in shape or affine.
        """
        first = img[0]
        if any(other.array.shape != first.array.shape for other in img):
            raise ValueError(f"channels of different shapes {[other.array.shape for other in img]}")
        if any(not np.allclose(other.affine, first.affine, atol=1e-3) for other in img):
            raise ValueError("channels of different affines")
        channel: float = float("nan") if first.array.ndim <= self.axes else -1
        meta: dict[str, Any] = {
            "affine": first.affine.copy(),
            "original_affine": first.affine.copy(),
            "spatial_shape": np.asarray(first.array.shape[: self.axes]),
            "space": "RAS",
            "original_channel_dim": channel if len(img) == 1 else 0,
        }
        return (first.array if len(img) == 1 else np.stack([other.array for other in img])), meta


class H5Reader(VolumeReader):
    """The field's HDF5 (``mri_norm2.h5``, ``*_norm.h5``): datasets ``image`` and ``label``, no geometry.

    Args:
        dataset: which dataset of the file is the volume.
        spacing: voxel size in mm, one number or three; the affine is its diagonal.
    """

    suffixes = (".h5", ".hdf5")

    def __init__(self, *, dataset: str = "image", spacing: float | Sequence[float] = 1.0) -> None:
        values = [float(value) for value in np.broadcast_to(np.asarray(spacing, dtype=float), (3,))]
        if not all(0 < value < float("inf") for value in values):
            raise ValueError(f"spacing must be positive millimetres, got {spacing!r}")
        self.dataset = dataset
        self.affine = np.diag([*values, 1.0])

    def volume(self, path: Path) -> Volume:
        """The dataset as an array.

        Raises:
            InputError: the file does not hold the dataset.
        """
        with h5py.File(path, "r") as file:
            content = file.get(self.dataset)
            if not isinstance(content, h5py.Dataset):
                raise InputError(
                    path,
                    f"holds no dataset {self.dataset!r} (it holds {sorted(file)})",
                    "expected datasets 'image' and 'label'",
                )
            return Volume(np.asarray(content[()]), self.affine)


class SimpleITKReader(VolumeReader):
    """NRRD and MetaImage through SimpleITK (MONAI's own readers need ``itk`` or ``pynrrd``)."""

    suffixes = (".nrrd", ".nhdr", ".mha", ".mhd")

    def volume(self, path: Path) -> Volume:
        """The image with axes in index order and its affine turned from LPS to RAS."""
        try:
            image = sitk.ReadImage(str(path))
        except RuntimeError as error:
            # ITK calls a MetaImage whose data end too early a file that does not exist.
            if "File cannot be read" in str(error) and path.exists():
                raise EOFError("the file ends before its data do") from error
            raise
        return _from_itk(image)


class PillowReader(VolumeReader):
    """PNG and JPEG, ``(H, W)`` or ``(H, W, C)``; a pixel counts as 1 mm, since the files do not say its size.

    Args:
        dataset: ``image`` turns palettes and other colour models into RGB and drops transparency; ``label``
            keeps values as they are stored.
    """

    suffixes = (".png", ".jpg", ".jpeg")
    axes = 2

    def __init__(self, *, dataset: str = "image") -> None:
        self.dataset = dataset

    def volume(self, path: Path) -> Volume:
        """The pixels, rows first."""
        with Image.open(path) as image:
            grey_or_rgb = image.mode in ("1", "L", "I", "I;16", "F", "RGB")
            as_stored = grey_or_rgb or self.dataset != "image"
            pixels = image if as_stored else image.convert("L" if image.mode == "LA" else "RGB")
            return Volume(np.asarray(pixels), np.eye(4))


class DicomSeriesReader(VolumeReader):
    """A folder that holds one DICOM series of parallel, equidistant slices, through SimpleITK (GDCM).

    The files' names do not matter: slices are ordered by their positions. Stored values are turned into
    modality units (Hounsfield units for CT) by rescale slope and intercept. A multi-frame file is such a
    series in one file; its frames are ordered by their positions too (needs pydicom).
    """

    suffixes = ()

    def volume(self, path: Path) -> Volume:
        """The series as one volume.

        Raises:
            InputError: there is no series in the folder, or more than one; slices differ in size or
                orientation, stand twice, or are missing.
        """
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
        if len(series) != 1:
            fault = f"holds {len(series)} DICOM series" if series else "is a folder without a DICOM series"
            raise InputError(path, fault, "put each series into a folder of its own, or name a file")
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series[0])
        if len(files) > 1:
            return _from_itk(sitk.ReadImage(_stacked(path, files)))
        image = sitk.ReadImage(files[0])
        return _from_itk(image) if image.GetSize()[2:] in ((), (1,)) else _from_frames(path, files[0], image)


def _stacked(folder: Path, files: Sequence[str]) -> list[str]:
    """The files in the order of their positions, refused where they are no regular stack.

    GDCM goes back to the order of names where two slices share a position, and ITK stacks whatever it gets.
    """
    header = sitk.ImageFileReader()
    origins, axes, sizes = [], [], []
    for file in files:
        header.SetFileName(file)
        header.ReadImageInformation()
        origins.append(header.GetOrigin())
        axes.append(header.GetDirection())
        sizes.append(header.GetSize()[:2])
        if header.GetSize()[2:] not in ((), (1,)):
            raise InputError(folder, "holds several multi-frame DICOM files", "put each into its own folder")
    if len(set(sizes)) > 1 or not np.allclose(axes, axes[0], atol=1e-3):
        raise InputError(
            folder, "holds DICOM slices of different size or orientation", "keep one orientation a folder"
        )
    normal = np.asarray(axes[0]).reshape(3, 3)[:, 2]
    order, _ = _in_order(folder, np.asarray(origins) @ normal, [Path(file).name for file in files])
    return [files[index] for index in order]


def _in_order(
    folder: Path, positions: NDArray[np.float64], names: Sequence[str]
) -> tuple[NDArray[np.intp], float]:
    """Order of the slices along their normal, and the distance between two, refused where it is uneven."""
    order = np.argsort(positions, kind="stable")
    steps = np.diff(positions[order])
    usual = float(np.median(steps))
    if np.abs(steps - usual).max() > SLICE_TOLERANCE * abs(usual):
        worst = int(np.abs(steps - usual).argmax())
        raise InputError(
            folder,
            f"has unevenly spaced DICOM slices ({steps[worst]:.3g} mm after "
            f"{names[order[worst]]}, {usual:.3g} mm elsewhere)",
            "see that no slice is missing or stands twice",
        )
    return order, float(np.ptp(positions)) / max(len(positions) - 1, 1)


def _from_frames(folder: Path, file: str, image: sitk.Image) -> Volume:
    """A multi-frame file with its frames in the order of their positions."""
    frames = read_frames(folder, file)
    normal = np.cross(frames.axes[:, 0], frames.axes[:, 1])
    names = [f"frame {number}" for number in range(1, len(frames.positions) + 1)]
    order, step = _in_order(folder, frames.positions @ normal, names)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([frames.axes, normal]) @ np.diag([*frames.spacing, step])
    affine[:3, 3] = frames.positions[order[0]]
    array = sitk.GetArrayFromImage(image)[order]
    return Volume(array.transpose(2, 1, 0), orientation_ras_lps(affine))


def _from_itk(image: sitk.Image) -> Volume:
    """Array in index order and affine turned from LPS to RAS."""
    dimension = image.GetDimension()
    rank = min(dimension, 3)
    affine = np.eye(4)
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)
    affine[:rank, :rank] = direction[:rank, :rank] @ np.diag(image.GetSpacing()[:rank])
    affine[:rank, 3] = image.GetOrigin()[:rank]
    array = sitk.GetArrayFromImage(image)
    axes = tuple(reversed(range(dimension)))
    vector = (dimension,) if image.GetNumberOfComponentsPerPixel() > 1 else ()
    return Volume(array.transpose((*axes, *vector)), orientation_ras_lps(affine))


def _paths(names: Sequence[str | Path] | str | Path) -> list[Path]:
    return [Path(names)] if isinstance(names, (str, Path)) else [Path(name) for name in names]
