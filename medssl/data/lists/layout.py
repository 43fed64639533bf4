"""Where the files of a case lie in a data folder, and what a case is called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medssl.common.errors import InputError, unknown_name

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Suffixes of files that hold one volume each."""

H5_FORMS = ("{case}/mri_norm2.h5", "{case}_norm.h5", "{case}/{case}_norm.h5")
"""Where the field's HDF5 files lie; each holds image and label of one case."""

FORMS = (
    "images/CASE.nii.gz with labels/CASE.nii.gz (or .nii, .nrrd, .mha, a folder with a DICOM series), "
    "CASE/mri_norm2.h5 or CASE_norm.h5"
)
"""The forms above in words, for messages."""


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


def stem_of(path: str | Path) -> str:
    """File name without its volume suffix (``a/b.nii.gz`` -> ``b``); other names lose their last suffix."""
    name = Path(path).name
    for suffix in VOLUME_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def case_name(path: str | Path) -> str:
    """Case of a file: ``CASE/mri_norm2.h5``, ``CASE_norm.h5`` and ``CASE.nii.gz`` give ``CASE``."""
    path = Path(path)
    if path.name == "mri_norm2.h5":
        return path.parent.name
    stem = stem_of(path)
    return stem.removesuffix("_norm") if path.suffix == ".h5" else stem


def is_dicom_folder(folder: Path) -> bool:
    """Whether a folder holds DICOM files (told by their magic bytes, whatever they are called)."""
    try:
        return folder.is_dir() and any(
            is_dicom(path) for path in sorted(folder.iterdir()) if not path.name.startswith(".")
        )
    except OSError:  # may not be looked into
        return False


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, told by its magic bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def find_case(folder: Path, case: str) -> CaseFiles | None:
    """The files of ``case`` in one of the forms above, None where there are none."""
    for name in (*(f"{case}{suffix}" for suffix in VOLUME_SUFFIXES), case):
        image = folder / "images" / name
        if image.is_file() or (name == case and is_dicom_folder(image)):
            labels = (folder / "labels" / f"{case}{suffix}" for suffix in VOLUME_SUFFIXES)
            return CaseFiles(case, image, next((label for label in labels if label.is_file()), None))
    for form in H5_FORMS:
        both = folder / form.format(case=case)
        if both.is_file():
            return CaseFiles(case, both, both)
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
    """The volumes of one folder, each with the volume of the same case name in another, sorted by name.

    Raises:
        InputError: a folder is missing, there is no image, or two files of a folder share a case name.
    """
    found = list_volumes(images)
    if not found:
        raise InputError(
            images,
            "holds no volume",
            "put CASE.nii.gz (or .nii, .nrrd, .mha) files or a folder per DICOM series there",
        )
    by_case = list_volumes(labels) if labels is not None else {}
    return [CaseFiles(case, found[case], by_case.get(case)) for case in sorted(found)]


def list_scans(folder: str | Path, *, cases: Sequence[str] | None = None) -> list[dict[str, str]]:
    """The scans of a folder, as items with ``case`` and ``image``.

    Looks into ``images/`` where there is one, for volumes directly in the folder, and for the field's HDF5
    files.

    Args:
        folder: the folder.
        cases: names of the cases wanted; None for all.

    Raises:
        InputError: no such folder, no scan in it, or a case that is not there.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "name the folder that holds the scans")
    images = folder / "images" if (folder / "images").is_dir() else folder
    found = {case: str(path) for case, path in (list_volumes(images) | _h5_files(folder)).items()}
    if not found:
        raise InputError(folder, "holds no scan", f"expected {FORMS}, or volumes directly in the folder")
    for case in cases or ():
        if case not in found:
            raise unknown_name("case", case, found)
    return [{"case": case, "image": found[case]} for case in sorted(found) if not cases or case in cases]


def _h5_files(folder: Path) -> dict[str, Path]:
    patterns = (form.format(case="*") for form in H5_FORMS)
    return {case_name(path): path for pattern in patterns for path in sorted(folder.glob(pattern))}


def list_volumes(folder: Path) -> dict[str, Path]:
    """Volumes and DICOM folders directly in a folder, by case name.

    Raises:
        InputError: no such folder, or two of them share a case name.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a data folder holds images/ and labels/")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        volume = path.is_file() and path.name.lower().endswith(VOLUME_SUFFIXES)
        if not volume and not is_dicom_folder(path):
            continue
        case = stem_of(path) if volume else path.name
        if case in found:
            raise InputError(path, f"same case name as {found[case].name}", "keep one of the two files")
        found[case] = path
    return found


def name_some(names: Iterable[str], *, at_most: int = 3) -> str:
    """``"a, b, c and 4 more"``: the first names of a list that may be long."""
    names = list(names)
    rest = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {rest} more" if rest > 0 else "")
