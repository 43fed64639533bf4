"""The pass over a datalist: every finding at once, whatever is found first."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError
from medssl.common.progress import track
from medssl.data.checks.across import set_findings
from medssl.data.checks.case import CheckedCase, Examine, check_case
from medssl.data.checks.findings import SEVERITIES, Finding, Severity
from medssl.data.checks.lists import Entry, entries, list_findings, patients_by_case
from medssl.data.checks.set_statistics import set_statistics
from medssl.data.lists.datalist_file import load_datalist, read_json
from medssl.data.lists.layout import case_name
from medssl.data.reading.formats import format_of
from medssl.data.reading.loading import LoadCased


@dataclass(frozen=True)
class CheckResult:
    """What the pass found.

    Attributes:
        findings: errors first, then warnings, then notes; each kind together.
        cases: every case, as far as it could be opened.
        statistics: as :func:`medssl.data.checks.set_statistics.set_statistics` gives them.
        num_classes: classes that labels were held against, None where the number is not known.
        class_names: their names, None likewise.
    """

    findings: tuple[Finding, ...]
    cases: tuple[CheckedCase, ...]
    statistics: dict[str, Any]
    num_classes: int | None
    class_names: tuple[str, ...] | None

    def count(self, severity: Severity) -> int:
        """Number of findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def is_volumetric(self) -> bool:
        """Whether these are volumes rather than 2D images."""
        return any(len(facts.get("size", ())) == 3 for facts in self.statistics.values())


def check_datalist(
    path: str | Path,
    *,
    base_dir: str | Path | None = None,
    roi: Sequence[int] | None = None,
    num_classes: int | None = None,
    h5_spacing: float | Sequence[float] = 1.0,
    allow_absent_classes: bool = False,
    jobs: int = 1,
    examine: Examine | None = None,
) -> CheckResult:
    """Open every case of a datalist and report all that is wrong.

    Labels of unlabelled cases, and ``hidden_labels``, are never opened.

    Args:
        path: the datalist, as :func:`medssl.data.load_datalist` reads it.
        base_dir: folder that relative file names start from; the folder of ``path`` by default.
        roi: patch of the training, in voxels; smaller volumes are warned of.
        num_classes: classes including background; by default as many as the datalist's ``classes``.
        h5_spacing: voxel size in mm of HDF5 volumes.
        allow_absent_classes: a class that no labelled case shows is a warning.
        jobs: cases that are opened at a time. Threads: decompression and array work leave the interpreter
            free, and importing the libraries once more per process would take longer than many a data set.
        examine: see :func:`medssl.data.checks.case.check_case`.

    Raises:
        InputError: the datalist itself cannot be read, or an argument is out of range.
    """
    for name, value, least in (("jobs", jobs, 1), ("classes", num_classes, 2)):
        if value is not None and value < least:
            raise InputError(f"{name}={value}", f"must be at least {least}", "ask for more")
    if roi is not None and (not roi or min(roi) < 1):
        raise InputError(f"roi={list(roi)}", "must be positive sizes", "give the patch in voxels")
    path = Path(path)
    refused: list[InputError] = []
    datalist = load_datalist(path, base_dir, refused=refused)
    names = datalist.get("classes")
    class_names = tuple(map(str, names)) if isinstance(names, list) and names else None
    if num_classes is None and class_names is not None:
        num_classes = len(class_names)
    loader = LoadCased(
        ["image", "label"],
        h5_spacing=h5_spacing,
        label_map=datalist.get("label_map"),
        num_classes=num_classes,
    )
    listed = entries(datalist)
    formats = {format_of(file) for entry in listed for file in entry.files("image")}
    axes = {file_format.axes for file_format in formats if file_format is not None}
    if roi is not None and axes and len(roi) not in axes:
        fault = f"has {len(roi)} sizes, the images have {max(axes)} axes"
        raise InputError(f"roi={list(roi)}", fault, "give one for each axis")
    of_lists = [Finding("entry", error.where, error.fault, error.remedy) for error in refused]
    of_lists += list_findings(datalist)
    of_lists += _ignored_labels(read_json(path))
    of_lists += _outside(listed, Path(base_dir) if base_dir is not None else path.parent)
    cases = _open_all(listed, loader, roi, jobs, examine)
    pairs = frozenset(frozenset({finding.case, finding.other}) for finding in of_lists if finding.other)
    patients = patients_by_case(listed, datalist.get("patients"))
    of_set = set_findings(
        cases,
        num_classes=num_classes,
        patients=patients,
        known_pairs=pairs,
        allow_absent_classes=allow_absent_classes,
    )
    return CheckResult(
        findings=_ordered([*of_lists, *(finding for case in cases for finding in case.findings), *of_set]),
        cases=tuple(cases),
        statistics=set_statistics(cases, class_names),
        num_classes=num_classes,
        class_names=class_names,
    )


def _open_all(
    listed: Sequence[Entry],
    loader: LoadCased,
    roi: Sequence[int] | None,
    jobs: int,
    examine: Examine | None,
) -> list[CheckedCase]:
    def check(entry: Entry) -> CheckedCase:
        return check_case(entry, loader=loader, roi=roi, examine=examine)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            return list(track(pool.map(check, listed), len(listed), title="check", unit="case"))
        except BaseException:  # Ctrl-C should not wait for the cases in the queue
            pool.shutdown(cancel_futures=True)
            raise


def _ignored_labels(content: dict[str, Any]) -> Iterator[Finding]:
    """Unlabelled entries of the file that name a label; loading has dropped it."""
    for index, entry in enumerate(content.get("unlabeled") or []):
        if isinstance(entry, dict) and entry.get("label"):
            image = entry.get("image")
            name = entry.get("case") or (case_name(image) if isinstance(image, str) else f"entry {index}")
            yield Finding(
                "label-ignored",
                f"case {str(name)!r}",
                "is unlabelled but names a label, which is not opened",
                "move it to training if the label should be used",
                str(name),
                "unlabeled",
            )


def _outside(listed: Sequence[Entry], folder: Path) -> Iterator[Finding]:
    """Files that lie elsewhere than the data folder, if that is where the data are at all."""
    root = os.path.realpath(folder)
    files = [
        (entry, file)
        for entry in listed
        for key in (("image",) if entry.split == "unlabeled" else ("image", "label"))
        for file in entry.files(key)
    ]
    inside = [os.path.realpath(file).startswith(os.path.join(root, "")) for _, file in files]
    if not any(inside):  # a datalist with full names may lie anywhere
        return
    for (entry, file), within in zip(files, inside, strict=True):
        if not within:
            fault = f"lies outside the data folder {folder}"
            real = os.path.realpath(file)
            if real != str(file) and not os.path.islink(file):
                fault += f" (at {real})"
            yield Finding(
                "outside-folder",
                str(file),
                fault,
                "see that it belongs to the set; it will be lost when the folder is moved",
                entry.case,
                entry.split,
            )


def _ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Without repeats, worst first, and each kind together."""
    unique = list(dict.fromkeys(findings))
    kinds = list(dict.fromkeys(finding.code for finding in unique))
    return tuple(
        sorted(unique, key=lambda finding: (SEVERITIES.index(finding.severity), kinds.index(finding.code)))
    )
