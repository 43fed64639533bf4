"""Faults of a datalist that show without opening a volume."""

import filecmp
import gzip
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from medssl.data.checks.findings import CaseError, Finding, refuse
from medssl.data.checks.opening import check_file
from medssl.data.lists.datalist import LISTS, Datalist
from medssl.data.lists.datalist_file import UNLABELED_KEYS, files_of
from medssl.data.lists.patients import patients_of
from medssl.data.lists.published_splits import read_split, split_names
from medssl.data.reading.formats import format_of

SIDES = {"training": "training", "unlabeled": "training", "validation": "validation", "test": "test"}
"""Labelled and unlabelled cases both train: a patient may have scans in either."""

BLOCK = 64 * 1024


class Entry(NamedTuple):
    """One case of a datalist, and the list it stands in."""

    split: str
    item: dict[str, Any]

    @property
    def case(self) -> str:
        """Name of the case."""
        return str(self.item["case"])

    def files(self, key: str) -> list[Path]:
        """Files of ``image`` or ``label``; none where it has no such key."""
        return list(files_of(self.item, key))


def entries(datalist: Datalist) -> list[Entry]:
    """All cases, list by list."""
    return [Entry(name, item) for name in LISTS for item in datalist.get(name, [])]


def validate_datalist(datalist: Datalist) -> None:
    """Refuse a datalist that ``medssl check`` calls faulty, as far as that shows without decoding a volume.

    The words are those of the check. Faults inside a file are refused by
    :class:`medssl.data.LoadCased` when it is loaded.

    Args:
        datalist: as :func:`medssl.data.load_datalist` or :func:`medssl.data.build_datalist` returns it.

    Raises:
        InputError: a case or an image file stands in two lists (or twice in one), also as a renamed or
            re-compressed copy; a patient stands on two sides; a file is missing, empty or not accessible;
            an unlabelled item carries a label; image and label are one file.
    """
    refuse(list_findings(datalist))


def list_findings(datalist: Datalist) -> Iterator[Finding]:
    """Every finding of :func:`validate_datalist`, and warnings besides."""
    listed = entries(datalist)
    yield from _names(listed)
    yield from _shared_files(listed)
    for entry in listed:
        yield from _accessible(entry)
    yield from _copies(listed)
    yield from _patients(listed, datalist.get("patients"))
    yield from _withdrawn(listed, str(datalist.get("name", "")))


def _names(listed: list[Entry]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for entry in listed:
        where = f"case {entry.case!r}"
        if entry.case in first:
            fault = _twice(first[entry.case], entry.split)
            yield Finding("case-twice", where, fault, "keep it in one list only", entry.case, entry.split)
        first.setdefault(entry.case, entry.split)
        extra = sorted(set(entry.item) - set(UNLABELED_KEYS))
        if entry.split == "unlabeled" and extra:
            fault = f"is unlabelled but carries {extra}"
            remedy = "read the file with load_datalist"
            yield Finding("unlabeled-keys", where, fault, remedy, entry.case, entry.split)


def _shared_files(listed: list[Entry]) -> Iterator[Finding]:
    images: dict[str, Entry] = {}
    labels: dict[str, Entry] = {}
    for entry in listed:
        own_images = {os.path.realpath(file): file for file in entry.files("image")}
        for real, file in own_images.items():
            if real in images and images[real].case != entry.case:
                other = images[real]
                fault = f"{_twice(other.split, entry.split)} (cases {other.case!r} and {entry.case!r})"
                yield Finding(
                    "file-twice",
                    str(file),
                    fault,
                    "keep it in one list only",
                    entry.case,
                    entry.split,
                    other.case,
                )
            images.setdefault(real, entry)
        for file in entry.files("label"):
            real = os.path.realpath(file)
            file_format = format_of(file)
            if real in own_images and not (file_format is not None and file_format.holds_label):
                fault, remedy = "is given as image and as label", "name the label file"
                yield Finding("label-is-image", str(file), fault, remedy, entry.case, entry.split)
            if real in labels and labels[real].case != entry.case:
                fault = f"is the label of case {labels[real].case!r} as well"
                remedy = "see that each case names its own label"
                yield Finding("shared-label", str(file), fault, remedy, entry.case, entry.split)
            labels.setdefault(real, entry)


def _twice(first: str, second: str) -> str:
    return f"stands twice in {first!r}" if first == second else f"stands in {first!r} and in {second!r}"


def _accessible(entry: Entry) -> Iterator[Finding]:
    keys = ("image",) if entry.split == "unlabeled" else ("image", "label")
    for file in dict.fromkeys(file for key in keys for file in entry.files(key)):
        try:
            check_file(file)
        except CaseError as error:
            yield replace(error.finding(), case=entry.case, split=entry.split)


def _copies(listed: list[Entry]) -> Iterator[Finding]:
    """The same bytes in two lists; gzip states length and CRC-32 of its content, whatever the level."""
    alike: dict[object, list[tuple[Entry, Path]]] = defaultdict(list)
    for entry in listed:
        for file in entry.files("image"):
            try:
                alike[_signature(file)].append((entry, file))
            except OSError:  # named by _accessible already
                continue
    for group in alike.values():
        for (one, file), (other, copy) in combinations(group, 2):
            if one.split == other.split or os.path.realpath(file) == os.path.realpath(copy):
                continue
            if _same_content(file, copy):
                yield Finding(
                    "copy-across-lists",
                    str(copy),
                    f"holds the same as {file.name} (case {one.case!r} in {one.split!r}, "
                    f"case {other.case!r} in {other.split!r})",
                    "keep one of the two",
                    other.case,
                    other.split,
                    one.case,
                )


def _signature(file: Path) -> object:
    """What two copies have in common, from a few blocks of the file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        if file.name.lower().endswith(".gz"):
            stream.seek(max(size - 8, 0))
            return "gzip", stream.read(8)
        blocks = []
        for start in (0, size // 2, max(size - BLOCK, 0)):
            stream.seek(start)
            blocks.append(stream.read(BLOCK))
        return size, *map(hash, blocks)


def _same_content(one: Path, other: Path) -> bool:
    if not one.name.lower().endswith(".gz"):
        return filecmp.cmp(one, other, shallow=False)
    try:
        with gzip.open(one) as first, gzip.open(other) as second:
            while (block := first.read(BLOCK * 16)) == second.read(BLOCK * 16):
                if not block:
                    return True
    except (OSError, EOFError):  # damaged; said elsewhere
        pass
    return False


def patients_by_case(listed: list[Entry], stated: object) -> dict[str, str]:
    """The patient of every case of which it is known.

    Args:
        listed: the cases; an item's own ``patient`` counts first.
        stated: the datalist's ``patients`` (patient by case), if it has one. Without it BIDS names say it.
    """
    of_table = stated if isinstance(stated, dict) else patients_of([entry.case for entry in listed]) or {}
    of_items = {entry.case: entry.item["patient"] for entry in listed if "patient" in entry.item}
    return {str(case): str(patient) for case, patient in {**of_table, **of_items}.items()}


def _patients(listed: list[Entry], stated: object) -> Iterator[Finding]:
    patients = patients_by_case(listed, stated)
    sides: dict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in listed:
        patient = patients.get(entry.case)
        if patient is None:
            continue
        seen = sides[patient]
        side = SIDES[entry.split]
        for other in [] if side in seen else seen.values():
            yield Finding(
                "patient-across-lists",
                f"patient {patient!r}",
                f"stands in {other.split!r} (case {other.case!r}) and in {entry.split!r} "
                f"(case {entry.case!r})",
                "keep all scans of a patient in one list",
                entry.case,
                entry.split,
            )
        seen.setdefault(side, entry)


def _withdrawn(listed: list[Entry], name: str) -> Iterator[Finding]:
    """Cases that the archive withdrew, of a split that is named or whose cases these are."""
    cases = {entry.case for entry in listed}
    for split in map(read_split, split_names()):
        published = {*split.training, *split.validation, *split.test}
        if not split.withdrawn or not (name == split.name or cases <= published):
            continue
        for entry in listed:
            if entry.case in split.withdrawn:
                yield Finding(
                    "withdrawn",
                    f"case {entry.case!r}",
                    f"{split.withdrawn[entry.case]} ({split.title}); it stands in {entry.split!r}",
                    "leave it out: medssl datalist --exclude-withdrawn",
                    entry.case,
                    entry.split,
                )
