"""Faults that show when a file is opened."""

import errno
import gzip
import os
import zlib
from pathlib import Path

from medssl.data.checks.findings import CaseError

DAMAGE = ("expected", "truncat", "eof", "end-of-stream", "unexpected end", "crc", "premature")
"""Words by which the libraries report a file that ends too early."""


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
