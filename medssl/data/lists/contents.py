"""What the files of a datalist hold, as one hash: two runs with the same value have seen the same bytes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError
from medssl.common.files import sha256_of_file
from medssl.data.lists.datalist import LISTS
from medssl.data.lists.datalist_file import files_of


def contents_sha256(
    datalist: Mapping[str, Any], lists: Sequence[str] = LISTS, *, keys: Sequence[str] = ("image", "label")
) -> str | None:
    """SHA-256 over names and bytes of the images and labels in some lists of a datalist.

    It does not depend on where the files lie or in which order or list the cases stand. Unlike
    :func:`medssl.data.split_sha256`, which tells who stands where, it changes when a label was corrected or
    a scan was exported anew. ``hidden_labels`` are not read.

    Args:
        datalist: items with ``case``, ``image`` (a file, or one for each channel) and, where labelled,
            ``label``.
        lists: names of the lists.
        keys: of the files of an item.

    Returns:
        64 hexadecimal digits; None where the lists hold no case.

    Raises:
        InputError: a file that cannot be read.
    """
    named = [
        (str(item["case"]), key, list(files_of(item, key)))
        for name in lists
        for item in datalist.get(name) or ()
        for key in keys
        if key in item
    ]
    if not named:
        return None
    files = sorted({file for _, _, paths in named for path in paths for file in _files(path)})
    with ThreadPoolExecutor(4) as pool:
        digests = dict(zip(files, pool.map(_sha256, files), strict=True))
    entries = sorted(
        # Channels stay in their order: another order is another image.
        [case, key, *(digests[file] for path in paths for file in _files(path))]
        for case, key, paths in named
    )
    return hashlib.sha256(json.dumps(entries, separators=(",", ":")).encode()).hexdigest()


def _files(path: Path) -> list[Path]:
    """The file itself; of a DICOM series all files of its folder."""
    return sorted(part for part in path.iterdir() if part.is_file()) if path.is_dir() else [path]


def _sha256(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise InputError(
            path, f"cannot be read ({error.strerror})", "restore it or correct the list"
        ) from error
