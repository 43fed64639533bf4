"""Findings that need all cases side by side: repeats, outliers, classes that nobody shows."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from medssl.data.checks.case import CheckedCase, Scan
from medssl.data.checks.findings import Finding
from medssl.data.checks.fingerprints import find_alike
from medssl.data.checks.labels import class_findings
from medssl.data.checks.lists import SIDES
from medssl.data.checks.volumes import channel_fault

OUTLIER_FACTOR = 1.5
"""A spacing is no outlier below this factor from the median, however alike the others are."""

OUTLIER_DEVIATIONS = 5.0
"""Robust standard deviations (1.4826 MAD) of log spacing beyond which a spacing is an outlier."""


def set_findings(
    cases: Sequence[CheckedCase],
    *,
    num_classes: int | None = None,
    patients: dict[str, str] | None = None,
    known_pairs: frozenset[frozenset[str]] = frozenset(),
    allow_absent_classes: bool = False,
) -> Iterator[Finding]:
    """Findings across cases.

    Args:
        cases: all cases, opened.
        num_classes: number of classes, None where it is not known.
        patients: patient by case; two scans of one patient in one list are no finding for looking alike.
        known_pairs: pairs of case names that are reported as one scan already.
        allow_absent_classes: a class that no labelled case shows is a warning.
    """
    opened = [(case, case.scan) for case in cases if case.scan is not None]
    yield from _axes(opened)
    yield from _channels(opened)
    yield from _spacing([(case, scan) for case, scan in opened if scan.spacing])
    shown: dict[str, set[int]] = defaultdict(set)
    for case, scan in opened:
        if scan.class_sizes is not None:
            shown[case.split] |= scan.class_sizes.keys()
    yield from class_findings(shown, num_classes=num_classes, allow_absent_classes=allow_absent_classes)
    same: set[frozenset[str]] = set(known_pairs)
    for finding, pair in _same_scans(opened, known_pairs):
        same.add(pair)
        yield finding
    yield from _near_duplicates(opened, same, patients or {})


def _axes(opened: Sequence[tuple[CheckedCase, Scan]]) -> Iterator[Finding]:
    if len({len(scan.size) for _, scan in opened}) > 1:
        for case, scan in opened:
            if len(scan.size) == 2:
                fault = "is a 2D image in a set of volumes"
                yield _named(Finding("axes", scan.file, fault, "make two sets of them"), case)


def _channels(opened: Sequence[tuple[CheckedCase, Scan]]) -> Iterator[Finding]:
    counts = Counter(scan.channels for _, scan in opened)
    if len(counts) > 1:
        expected = max(counts, key=lambda channels: (counts[channels], -channels))
        for case, scan in opened:
            if scan.channels != expected:
                fault = channel_fault(scan.file, scan.channels, expected, axes=len(scan.size))
                yield _named(fault, case)


def _spacing(opened: Sequence[tuple[CheckedCase, Scan]]) -> Iterator[Finding]:
    if len(opened) < 4:  # too few to say which one is the odd one out
        return
    logs = np.log([sorted(scan.spacing) for _, scan in opened])
    median = np.median(logs, axis=0)
    spread = 1.4826 * np.median(np.abs(logs - median), axis=0)
    limit = np.maximum(np.log(OUTLIER_FACTOR), OUTLIER_DEVIATIONS * spread)
    usual = " x ".join(f"{value:.3g}" for value in np.exp(median))
    outlying = (np.abs(logs - median) > limit).any(axis=1)
    for (case, scan), is_outlier in zip(opened, outlying, strict=True):
        if is_outlier:
            spacing = " x ".join(f"{value:.3g}" for value in sorted(scan.spacing))
            fault = f"has a spacing of {spacing} mm (sorted), the median is {usual} mm"
            remedy = "see that its header is right, and train at one spacing"
            yield _named(Finding("spacing-outlier", scan.file, fault, remedy), case)


def _same_scans(
    opened: Sequence[tuple[CheckedCase, Scan]], known: frozenset[frozenset[str]]
) -> Iterator[tuple[Finding, frozenset[str]]]:
    groups: dict[str, list[tuple[CheckedCase, Scan]]] = defaultdict(list)
    for case, scan in opened:
        if scan.thumbnail is not None:
            groups[scan.content].append((case, scan))
    for group in groups.values():
        for (case, scan), (repeat, repeated_scan) in combinations(group, 2):
            pair = frozenset({case.case, repeat.case})
            if pair in known or scan.file == repeated_scan.file:
                continue
            fault = (
                f"holds the same voxels as {Path(scan.file).name} (case {case.case!r} in {case.split!r}, "
                f"case {repeat.case!r} in {repeat.split!r})"
            )
            code = "same-scan" if case.split == repeat.split else "same-scan-across-lists"
            finding = Finding(code, repeated_scan.file, fault, "keep one of the two", other=case.case)
            yield _named(finding, repeat), pair


def _near_duplicates(
    opened: Sequence[tuple[CheckedCase, Scan]], same: set[frozenset[str]], patients: dict[str, str]
) -> Iterator[Finding]:
    comparable = [(case, scan.file, scan.look) for case, scan in opened if scan.look is not None]
    for first, second, similarity in find_alike([look for _, _, look in comparable]):
        (case, file, _), (twin, twin_file, _) = comparable[first], comparable[second]
        patient = patients.get(case.case)
        one_patient = patient is not None and patient == patients.get(twin.case)
        if frozenset({case.case, twin.case}) in same or file == twin_file:
            continue
        if one_patient and case.split == twin.split:
            continue
        fault = (
            f"looks like case {case.case!r} (similarity {similarity:.3f}; {case.case!r} in {case.split!r}, "
            f"{twin.case!r} in {twin.split!r})"
        )
        remedy = (
            "see whether they are one scan or one patient; if so, keep them in one list"
            if SIDES[case.split] != SIDES[twin.split]
            else "see whether they are one scan; if so, keep one"
        )
        yield _named(Finding("near-duplicate", f"case {twin.case!r}", fault, remedy, other=case.case), twin)


def _named(finding: Finding, case: CheckedCase) -> Finding:
    return replace(finding, case=case.case, split=case.split)
