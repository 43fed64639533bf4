"""Where the files of a case lie in a data folder, and what a case is called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.common.errors import InputError, unknown_name
from medssl.data.reading.formats import VOLUME_SUFFIXES, format_of, strip_suffix

H5_FORMS = ("{case}/mri_norm2.h5", "{case}_norm.h5", "{case}/{case}_norm.h5")
"""Where the field's HDF5 files lie; each holds image and label of one case."""

FORMS = (
    f"images/CASE.nii.gz with labels/CASE.nii.gz (or {', '.join(VOLUME_SUFFIXES[1:])}, a folder with a DICOM "
    f"series), {' or '.join(form.format(case='CASE') for form in H5_FORMS)}"
)
"""Where the files of a case may lie, in words, for messages."""


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    Attributes:
        case: name of the case.
        image: the image.
        label: the reference, None where there is none; for HDF5 the same file as ``image``.
    """

    case: str
    image: Path
    label: Path | None


def case_name(path: str | Path) -> str:
    """Case of a file: ``CASE/mri_norm2.h5``, ``CASE_norm.h5`` and ``CASE.nii.gz`` give ``CASE``."""
    path = Path(path)
    if path.name == "mri_norm2.h5":
        return path.parent.name
    stem = strip_suffix(path)
    return stem.removesuffix("_norm") if path.suffix == ".h5" else stem


def find_case(folder: Path, case: str) -> CaseFiles | None:
    """The files of ``case`` in one of the forms above, None where there are none."""
    for name in (*(f"{case}{suffix}" for suffix in VOLUME_SUFFIXES), case):
        image = folder / "images" / name
        file_format = format_of(image)
        if file_format is not None and file_format.is_image(image):
            labels = (folder / "labels" / f"{case}{suffix}" for suffix in VOLUME_SUFFIXES)
            return CaseFiles(case, image, next((label for label in labels if label.is_file()), None))
    for form in H5_FORMS:
        file = folder / form.format(case=case)
        if file.is_file():
            return CaseFiles(case, image=file, label=file)
    return None


def list_cases(folder: Path) -> list[CaseFiles]:
    """Every case of a folder with ``images/`` and ``labels/``, or of the field's HDF5 files, sorted by name.

    Raises:
        InputError: there is no ``images`` folder, it holds no volume, or two files share a case name.
    """
    h5 = {} if (folder / "images").is_dir() else _h5_files(folder)
    if h5:
        return [CaseFiles(case, h5[case], h5[case]) for case in sorted(h5)]
    labels = folder / "labels"
    return pair_cases(folder / "images", labels if labels.is_dir() else None)


def pair_cases(images: Path, labels: Path | None) -> list[CaseFiles]:
    """The images of one folder, each with the label of the same case name in another, sorted by name.

    The images are its volumes; a folder without a volume may hold 2D images instead.

    Raises:
        InputError: a folder is missing, there is no image, or two files of a folder share a case name.
    """
    image_files = list_files(images) or list_files(images, axes=2)
    if not image_files:
        raise InputError(
            images,
            "holds no volume and no 2D image",
            f"put CASE.nii.gz ({', '.join(VOLUME_SUFFIXES[1:])}, in 2D .png) files or a folder per DICOM "
            "series there",
        )
    axes = image_axes(next(iter(image_files.values())))
    label_files = list_files(labels, axes=axes, labels=True) if labels is not None else {}
    return [CaseFiles(case, image_files[case], label_files.get(case)) for case in sorted(image_files)]


def image_axes(path: Path) -> int:
    """Axes of the image in a file or folder of a known format: 3, or 2."""
    file_format = format_of(path)
    if file_format is None:
        raise ValueError(f"path must be of a known format, got {path}")
    return file_format.axes


def list_scans(
    folder: str | Path, *, cases: Sequence[str] | None = None, axes: int = 3
) -> list[dict[str, str]]:
    """The scans, or images, of a folder, as items with ``case`` and ``image``.

    Looks into ``images/`` where there is one, for volumes directly in the folder, and for the field's HDF5
    files; or for images of two axes.

    Args:
        folder: the folder.
        cases: names of the cases wanted; None for all.
        axes: of what is wanted: 3, or 2 for images.

    Raises:
        InputError: no such folder, no scan in it, or a case that is not there.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "name the folder that holds the scans")
    images = folder / "images" if (folder / "images").is_dir() else folder
    files = list_files(images, axes=axes) | (_h5_files(folder) if axes == 3 else {})
    scans = {case: str(path) for case, path in files.items()}
    if not scans and axes == 3:
        raise InputError(folder, "holds no scan", f"expected {FORMS}, or volumes directly in the folder")
    if not scans:
        raise InputError(folder, "holds no image", "expected .png or .jpg files there, or in its images/")
    for case in cases or ():
        if case not in scans:
            raise unknown_name("case", case, scans)
    return [{"case": case, "image": scans[case]} for case in sorted(scans) if not cases or case in cases]


def _h5_files(folder: Path) -> dict[str, Path]:
    patterns = (form.format(case="*") for form in H5_FORMS)
    return {case_name(path): path for pattern in patterns for path in sorted(folder.glob(pattern))}


def list_files(folder: Path, *, axes: int = 3, labels: bool = False) -> dict[str, Path]:
    """Images directly in a folder, by case name: files and folders of a format that holds nothing else.

    Args:
        folder: the folder.
        axes: of the images, 3 or 2.
        labels: leave out formats that cannot hold class ids.

    Raises:
        InputError: no such folder, or two images share a case name.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a data folder holds images/ and labels/")
    by_case: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        file_format = format_of(path)
        if path.name.startswith(".") or file_format is None or file_format.axes != axes:
            continue
        if file_format.holds_label or (labels and file_format.lossy) or not file_format.is_image(path):
            continue
        case = path.name if path.is_dir() else strip_suffix(path)
        if case in by_case:
            raise InputError(path, f"same case name as {by_case[case].name}", "keep one of the two files")
        by_case[case] = path
    return by_case


def name_some(names: Iterable[str], *, at_most: int = 3) -> str:
    """``"a, b, c and 4 more"``: the first names of a list that may be long."""
    names = list(names)
    unnamed = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {unnamed} more" if unnamed > 0 else "")
