"""Files that are written whole or not at all."""

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of ``path``, moved onto it when the block ends without an error.

    The temporary name keeps all suffixes, because writers choose a format by them
    (``case_seg.nii.gz`` is first written as ``.tmp-1234-case_seg.nii.gz``). Missing folders are made.
    A kill leaves the old file or the new one, never a part.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(
    path: str | Path, rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None
) -> None:
    """Write a table (CSV, UTF-8, lines that end in a line feed) to ``path`` atomically.

    Args:
        path: the file.
        rows: values by column; what a row lacks is empty.
        columns: by default those of the first row; of no rows the file is empty, then.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        if columns is None:
            columns = list(rows[0]) if rows else []
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if columns:
            writer.writeheader()
        writer.writerows(rows)


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of what a file holds, in hexadecimal digits, read piece by piece."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
