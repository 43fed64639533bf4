"""The scans that a command line names: a folder, one scan, or a datalist."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medssl.common.errors import unknown_name
from medssl.data.lists.datalist import LISTS
from medssl.data.lists.datalist_file import load_datalist
from medssl.data.lists.layout import case_name, list_scans
from medssl.data.reading.formats import is_dicom_folder

KEPT = ("case", "image", "roi")
"""What a prediction needs of a datalist's item."""


def scans_of(
    source: str | Path, *, lists: Sequence[str], cases: Sequence[str] | None = None, axes: int = 3
) -> list[dict[str, Any]]:
    """The scans or images of a folder, a single one, or the cases of a datalist.

    Args:
        source: folder, volume, folder with a DICOM series, image, or JSON file.
        lists: of a datalist.
        cases: names of the cases wanted; None for all.
        axes: of what is wanted of a folder: 3, or 2 for images.

    Raises:
        InputError: nothing there, an unknown list, or a case that is not there.
    """
    path = Path(source)
    if path.suffix.lower() == ".json":
        for name in lists:
            if name not in LISTS:
                raise unknown_name("list", name, LISTS)
        datalist = load_datalist(path)
        items = [{key: item[key] for key in KEPT if key in item} for name in lists for item in datalist[name]]
        for case in cases or ():
            if case not in {item["case"] for item in items}:
                raise unknown_name("case", case, [item["case"] for item in items])
        return [item for item in items if not cases or item["case"] in cases]
    if path.is_file() or is_dicom_folder(path):
        case = case_name(path) if path.is_file() else path.name
        return [{"case": case, "image": str(path.absolute())}]
    return list(list_scans(path, cases=cases, axes=axes))
