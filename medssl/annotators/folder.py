"""Folders of annotation maps, found by the names of their images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medssl.annotators.maps import SUFFIXES, nifti_affine, read_map
from medssl.common.errors import InputError
from medssl.data.lists.layout import case_name, name_some

ImageFiles = str | Path | Sequence[str | Path]
"""One image: its file, a folder with a DICOM series, or a list of files that are its channels."""

HALF_VOXEL = 0.5
"""How far, in voxels of the coarser grid, the corners of a map and of its scan may be apart."""


def first_file(image: ImageFiles) -> Path:
    """The file that names an image: the first of several channels."""
    return Path(image) if isinstance(image, (str, Path)) else Path(image[0])


def map_name(image: ImageFiles) -> str:
    """Name of an image's map without suffix: ``a/b.nii.gz`` -> ``b``.

    Of a folder with a DICOM series the folder's name, of the field's HDF5 files the name of the case
    (``CASE/mri_norm2.h5`` -> ``CASE``).
    """
    path = first_file(image)
    return path.name if path.is_dir() else case_name(path)


class MapFolder:
    """Annotation maps of one folder or several, their subfolders included.

    Args:
        folder: where ``<name>.npz`` or ``<name>.nii.gz`` lie (:mod:`medssl.annotators.maps`); or several.
        num_classes: classes that every map must have; None for any number.

    Raises:
        InputError: no such folder, or none of them holds a map.
    """

    def __init__(self, folder: str | Path | Sequence[str | Path], *, num_classes: int | None = None) -> None:
        folders = [folder] if isinstance(folder, (str, Path)) else list(folder)
        self.folders, self.num_classes = tuple(map(Path, folders)), num_classes
        self._paths: dict[str, list[Path]] = {}
        for path in self._maps():
            self._paths.setdefault(_stem(path), []).append(path)
        if not self._paths:
            fault = "holds no annotation map (.npz, .nii.gz)"
            raise InputError(self._where(), fault, "make them with `medssl annotate`")

    def __len__(self) -> int:
        """Number of maps."""
        return sum(map(len, self._paths.values()))

    def __contains__(self, image: ImageFiles) -> bool:
        """Whether there is a map of this name."""
        return map_name(image) in self._paths

    def path(self, image: ImageFiles) -> Path:
        """The map of an image.

        Where several folders hold a map of that name it is the one whose folder is called as the image's is
        (``train``, ``val``).

        Args:
            image: its file, or files.

        Raises:
            InputError: there is none, or it cannot be told which it is.
        """
        name = map_name(image)
        paths = self._paths.get(name, [])
        if not paths:
            some = name_some(sorted(self._paths), at_most=2)
            fault = f"holds no map of the image {name} (it has {some})"
            raise InputError(self._where(), fault, "annotate that image, too")
        if len(paths) > 1:
            beside = [path for path in paths if path.parent.name == first_file(image).parent.name]
            if len(beside) != 1:
                fault = f"holds {len(paths)} maps of the name {name}: {name_some(map(str, paths), at_most=2)}"
                raise InputError(self._where(), fault, "keep one, or name folders as those of the images")
            paths = beside
        return paths[0]

    def read(self, image: ImageFiles) -> NDArray[np.float32]:
        """The map of an image, ``(K, *S)`` probabilities on the map's own grid.

        Args:
            image: its file, or files.

        Raises:
            InputError: as :meth:`path` and :func:`medssl.annotators.maps.read_map`; another number of
                classes; or a NIfTI map that lies elsewhere than its NIfTI scan, or stores its axes otherwise.
        """
        path = self.path(image)
        probs = read_map(path)
        if self.num_classes not in (None, len(probs)):
            fault = f"has {len(probs)} classes, {self.num_classes} are wanted"
            raise InputError(path, fault, "give the folder of a model with these classes")
        _check_place(path, first_file(image), probs.shape[1:])
        return probs

    def _maps(self) -> Iterator[Path]:
        for folder in self.folders:
            if not folder.is_dir():
                raise InputError(folder, "no such folder", "name the folder with the annotation maps")
            # Sorted, for file systems list in any order; what begins with a point is no finished file.
            for path in sorted(folder.rglob("*")):
                if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file():
                    yield path

    def _where(self) -> str:
        return ", ".join(map(str, self.folders))


def _stem(path: Path) -> str:
    suffix = next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
    return path.name[: -len(suffix)]


def _check_place(path: Path, image: Path, shape: Sequence[int]) -> None:
    """Refuse a NIfTI map whose corners are not those of its scan; other formats do not say where they lie."""
    own, scans = nifti_affine(path), nifti_affine(image)
    if own is None or scans is None:
        return
    import nibabel as nib

    scan_shape = nib.load(image).shape[:3]
    corners = [_corners(affine, size) for affine, size in ((own, shape), (scans, scan_shape))]
    spacing = max(float(np.linalg.norm(affine[:3, :3], axis=0).max()) for affine in (own, scans))
    apart = float(np.abs(corners[0] - corners[1]).max())
    if apart > HALF_VOXEL * spacing:
        fault = f"and its scan {image.name} do not cover the same space ({apart:.3g} mm apart)"
        raise InputError(path, fault, "write the map in the voxel order and geometry of the scan")


def _corners(affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """Where the eight corners of a grid lie in mm, ``(8, 3)``, in the order of its axes."""
    ends = np.stack(np.meshgrid(*[(-0.5, size - 0.5) for size in shape], indexing="ij"), -1).reshape(-1, 3)
    corners: NDArray[np.float64] = ends @ affine[:3, :3].T + affine[:3, 3]
    return corners
