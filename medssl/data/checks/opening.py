"""Faults that show when a file is opened, and a NIfTI reader that notices every damage."""

import errno
import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
from monai.data import NibabelReader
from monai.data.utils import correct_nifti_header_if_necessary

from medssl.data.checks.findings import CaseError, refuse
from medssl.data.checks.volumes import affine_faults

DAMAGE = ("expected", "truncat", "eof", "end-of-stream", "unexpected end", "crc", "premature")
"""Words by which the libraries report a file that ends too early."""


class NiftiReader(NibabelReader):  # type: ignore[misc]
    """MONAI's reader of NIfTI that also verifies the checksum of a compressed file.

    nibabel stops reading a ``.nii.gz`` at the last voxel, before the checksum, so that flipped bits pass
    for intensities. Here the stream is decompressed to its end, once.
    """

    def __init__(self) -> None:
        """Axes of length one behind the third are dropped, as the field's writers leave them."""
        super().__init__(squeeze_non_spatial_dims=True)

    def read(self, data: Sequence[str | Path] | str | Path, **kwargs: Any) -> Any:
        """Open one file, or several as channels."""
        names = [data] if isinstance(data, (str, Path)) else list(data)
        self.filenames = tuple(names)
        images = [correct_nifti_header_if_necessary(_open(Path(name))) for name in names]
        return images if len(images) > 1 else images[0]


def _open(path: Path) -> Any:
    image = nib.load(path)  # reads the header alone
    content = None
    if path.name.lower().endswith(".gz"):
        content = gzip.decompress(path.read_bytes())
    header = raw_header(path, type(image).header_class)
    if header["sform_code"] == 0 and (header["pixdim"][1:4][: header["dim"][0]] == 0).any():
        # nibabel takes 1 mm for it.
        raise CaseError("affine", path, "has a spacing of 0 mm", "repair its header")
    # MONAI would replace an sform that is of no use by a qform that nobody set.
    refuse(affine_faults(str(path), image.affine))
    return image if content is None else type(image).from_bytes(content)


def raw_header(path: Path, kind: type[Any]) -> Any:
    """The NIfTI header as stored, before nibabel corrects what it takes for slips."""
    zipped = path.name.lower().endswith(".gz")
    with gzip.open(path) if zipped else path.open("rb") as stream:
        return kind.from_fileobj(stream, check=False)


def check_file(path: Path) -> None:
    """Refuse a path that leads to no content.

    A folder passes: it may hold a DICOM series.

    Raises:
        CaseError: missing, not accessible, a loop of links, or empty.
    """
    try:
        status = path.stat()
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileNotFoundError as error:
        raise CaseError(
            "missing-file", path, "no such file", "correct the path or the base folder of the datalist"
        ) from error
    except OSError as error:
        code = "permission" if isinstance(error, PermissionError) else "path"
        reason = "a loop of symbolic links" if error.errno == errno.ELOOP else error.strerror
        raise CaseError(
            code, path, f"cannot be opened ({reason})", "check the path and its permissions"
        ) from error
    if status.st_size == 0 and not path.is_dir():
        raise CaseError("empty-file", path, "is empty (0 bytes)", "copy it again from its source")


def unreadable(path: Path, error: Exception) -> CaseError:
    """The one-line error for whatever a library raised over a file."""
    if isinstance(error, PermissionError):
        return CaseError("permission", path, "cannot be opened (permission denied)", "check its permissions")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1][:160] if lines else type(error).__name__
    damage = (EOFError, zlib.error, gzip.BadGzipFile)
    if isinstance(error, damage) or any(word in str(error).lower() for word in DAMAGE):
        return CaseError(
            "damaged", path, f"is truncated or damaged ({reason})", "copy it again from its source"
        )
    return CaseError(
        "unreadable",
        path,
        f"cannot be read ({reason})",
        "see that it is what its name says, or export it again",
    )
