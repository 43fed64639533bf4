"""The file formats of images and labels: everything that differs between them, in one table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.data import ImageReader

from medssl.data.checks.findings import Finding
from medssl.data.checks.headers import nifti_header_findings
from medssl.data.reading.nifti import NiftiReader
from medssl.data.reading.readers import DicomSeriesReader, H5Reader, PillowReader, SimpleITKReader


@dataclass(frozen=True)
class FileFormat:
    """One format.

    Attributes:
        name: for readers.
        suffixes: of its files, in small letters; none where an image is a folder.
        reader: reads one image or label.
        note: what to know of it.
        axes: of an image, without channels.
        takes: what the reader is made with: ``dataset`` (``image`` or ``label``), ``spacing`` (mm).
        holds_label: one file holds image and label of a case.
        lossy: its compression changes values, so that it cannot hold class ids.
        is_image_folder: whether a folder is an image of this format.
        header_findings: warnings of what the header says and the loaded image no longer shows.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: Callable[..., ImageReader]
    note: str
    axes: int = 3
    takes: tuple[str, ...] = ()
    holds_label: bool = False
    lossy: bool = False
    is_image_folder: Callable[[Path], bool] | None = None
    header_findings: Callable[[Path], Iterator[Finding]] | None = None

    def is_image(self, path: Path) -> bool:
        """Whether a path with a name of this format leads to an image: of a folder its content tells."""
        return path.is_file() if self.is_image_folder is None else self.is_image_folder(path)

    def make_reader(self, **options: Any) -> ImageReader:
        """A new reader: MONAI's remember what they read, so threads share none.

        Args:
            options: ``dataset`` and ``spacing``; those that the reader does not take are left out.
        """
        return self.reader(**{name: options[name] for name in self.takes})


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, told by its magic bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def is_dicom_folder(folder: Path) -> bool:
    """Whether a folder holds DICOM files (told by their magic bytes, whatever they are called)."""
    try:
        return folder.is_dir() and any(
            is_dicom(path) for path in sorted(folder.iterdir()) if not path.name.startswith(".")
        )
    except OSError:  # may not be looked into
        return False


NIFTI = FileFormat(
    "NIfTI",
    (".nii.gz", ".nii"),
    NiftiReader,
    "a fourth axis holds channels",
    header_findings=nifti_header_findings,
)
FORMATS = (
    NIFTI,
    FileFormat("NRRD, MetaImage", SimpleITKReader.suffixes, SimpleITKReader, "vector voxels become channels"),
    FileFormat(
        "DICOM series",
        (),
        DicomSeriesReader,
        "one series a folder; slices are ordered by position, whatever their names; a missing slice is an "
        'error; rescaled to Hounsfield units. So are the frames of a multi-frame ("enhanced") file, for '
        "which pydicom is needed (`pip install 'medssl[dicom]'`)",
        is_image_folder=is_dicom_folder,
    ),
    FileFormat(
        "the field's HDF5",
        H5Reader.suffixes,
        H5Reader,
        "`CASE/mri_norm2.h5` or `CASE_norm.h5`; datasets `image` and `label`; spacing is not stored: give "
        "`h5_spacing`",
        takes=("dataset", "spacing"),
        holds_label=True,
    ),
    FileFormat(
        "PNG",
        (".png",),
        PillowReader,
        "2D; colours become channels, transparency is dropped; where a label has a palette, its indices are "
        "the class ids",
        axes=PillowReader.axes,
        takes=("dataset",),
    ),
    FileFormat(
        "JPEG",
        (".jpg", ".jpeg"),
        PillowReader,
        "2D; not for labels, as its compression changes values",
        axes=PillowReader.axes,
        takes=("dataset",),
        lossy=True,
    ),
)
"""All formats. A folder counts as the first format whose images are folders."""

VOLUME_SUFFIXES = tuple(
    suffix for entry in FORMATS if entry.axes == 3 and not entry.holds_label for suffix in entry.suffixes
)
"""Suffixes of files that hold one volume each."""

LABEL_SUFFIXES = VOLUME_SUFFIXES + tuple(
    suffix for entry in FORMATS if entry.axes == 2 and not entry.lossy for suffix in entry.suffixes
)
"""Suffixes of files that hold one label map each, volumes first."""


def format_of(path: Path) -> FileFormat | None:
    """The format that the name of a file says, or that of a folder; None for an unknown one."""
    if path.is_dir():
        return next(entry for entry in FORMATS if entry.is_image_folder is not None)
    name = path.name.lower()
    return next((entry for entry in FORMATS if entry.suffixes and name.endswith(entry.suffixes)), None)


def strip_suffix(path: str | Path) -> str:
    """File name without the suffix of its format (``a/b.nii.gz`` -> ``b``); others lose their last one."""
    name = Path(path).name
    suffixes = sorted((suffix for entry in FORMATS for suffix in entry.suffixes), key=len, reverse=True)
    matching = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), None)
    return Path(name).stem if matching is None else name[: -len(matching)]
