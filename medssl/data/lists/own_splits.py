"""Splits of one's own data: no patient on two sides, and label sizes spread alike over the lists."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError
from medssl.common.progress import track
from medssl.data.checks.volumes import SIZE_UNITS
from medssl.data.lists.datalist import Datalist, class_names, count_cases, finish_datalist, make_lists
from medssl.data.lists.layout import CaseFiles, image_axes, list_cases, list_files, name_some, pair_cases
from medssl.data.lists.patients import patients_of
from medssl.data.reading.formats import format_of, strip_suffix
from medssl.data.reading.loading import LoadCased


@dataclass(frozen=True)
class Patient:
    """The cases of one patient.

    Attributes:
        name: name of the patient.
        labeled: cases that have a label file.
        unlabeled: cases that have none.
        label_size: mean foreground of the labels in ml, or in 2D in pixels; 0 where there are none.
    """

    name: str
    labeled: tuple[CaseFiles, ...]
    unlabeled: tuple[CaseFiles, ...]
    label_size: float


def build_own_datalist(
    images: str | Path,
    labels: str | Path | None = None,
    *,
    labeled: int | float | None = None,
    validation: int | float = 0,
    test: int | float = 0,
    seed: int = 0,
    groups: str | Path | None = None,
    group_pattern: str | None = None,
    label_map: Mapping[Any, Any] | None = None,
    h5_spacing: float | Sequence[float] = 1.0,
    require_unlabeled: bool = True,
) -> Datalist:
    """Datalist of two folders in which a label bears the name of its image.

    Drawn are first the test cases, then the validation cases, then the labelled ones, each time among the
    patients that have a label file, patient by patient: they are sorted by label size and cut into as
    many bins as patients are wanted, and the bins are drawn from in turn. So even a few cases cover small
    and large structures. All other cases are unlabelled; the labels that some of them have are written to
    ``hidden_labels`` and never trained on.

    A patient stands in one list only. Two exceptions follow from missing labels: of a labelled patient,
    scans without a label are unlabelled training cases; of a validation or test patient, such scans are
    left out (``left_out``). As patients are not divided, a list may end up short of the number asked, and
    longer only where the smallest patient has more cases than were asked.

    The result depends on names, label sizes and ``seed``; not on the order of a folder.

    Args:
        images: folder of volumes, or of one folder per DICOM series, or of the field's HDF5 files; or of 2D
            images, where it holds no volume.
        labels: folder of labels; ``labels`` beside ``images`` by default. HDF5 files hold theirs.
        labeled: number of labelled cases, or their fraction in (0, 1) of all cases that are not test cases;
            None for all that have a label.
        validation: number of validation cases, or their fraction, likewise.
        test: number of test cases, or their fraction of all cases. A fraction is rounded to the nearest
            whole number (a half to the even one) and asks for at least one case.
        seed: seed of the draw.
        groups: CSV with the columns ``case`` and ``patient``.
        group_pattern: regular expression whose first group is the patient's name in a case's name. Without
            it and ``groups``, BIDS names (``sub-01_...``) say the patient; else every case is one.
        label_map: stored class ids that stand for others; written to the datalist.
        h5_spacing: voxel size in mm of HDF5 volumes.
        require_unlabeled: refuse a list without an unlabelled case.

    Returns:
        As :func:`medssl.data.build_datalist`, and ``patients`` (patient by case, where that is known),
        ``label_ml`` (foreground volume by case; in 2D ``label_pixels``), ``left_out`` (cases) and ``seed``.

    Raises:
        InputError: a folder is missing or holds no image, no label bears the name of an image, a label is
            unreadable, or counts ask for more cases than have labels.
    """
    images = Path(images).absolute()
    cases, label_folder, stray = _find(images, None if labels is None else Path(labels).absolute())
    by_case = patients_of([files.case for files in cases], table=groups, pattern=group_pattern)
    candidates = {files.case: files.label for files in cases if files.label is not None}
    if not candidates:
        _refuse_lossy(label_folder, {files.case for files in cases})
        raise InputError(
            label_folder,
            f"no label file bears the name of an image (the first image is {cases[0].image.name})",
            "name each label as its image",
        )
    loader = LoadCased("label", h5_spacing=h5_spacing, label_map=label_map)
    label_sizes = measure_labels(candidates, loader)
    patients = _patients(cases, by_case, label_sizes)

    wanted = {"test": count_cases("test", test, len(cases))}
    not_test = len(cases) - wanted["test"]
    wanted["validation"] = count_cases("validation", validation, not_test)
    available = len(candidates) - wanted["test"] - wanted["validation"]
    wanted["training"] = available if labeled is None else count_cases("labeled", labeled, not_test)
    if available < max(wanted["training"], 1):
        raise InputError(
            "labeled",
            f"{wanted['training']} labelled, {wanted['validation']} validation and {wanted['test']} test "
            f"cases asked of {len(candidates)} cases that have a label ({len(cases)} in all)",
            "ask for fewer, give numbers instead of fractions, or add labels",
        )
    drawn = _draw_lists(patients, wanted, np.random.default_rng(seed), all_labeled=labeled is None)
    lists = {name: [files for patient in drawn[name] for files in patient.labeled] for name in drawn}
    left_out = sorted(
        files.case
        for name in ("test", "validation")
        for patient in drawn[name]
        for files in patient.unlabeled
    )
    placed = {*left_out, *(files.case for members in lists.values() for files in members)}
    unlabeled = [files for files in cases if files.case not in placed]
    grouped = f"{len(patients)} patients" if by_case is not None else "each its own patient"
    notes = [
        f"{len(cases)} cases ({grouped}), {len(candidates)} of which have a label",
        f"drawn by patient, spread over the label volumes, seed {seed}",
    ]
    for name, number in wanted.items():
        if len(lists[name]) != number and (name != "training" or labeled is not None):
            notes.append(f"{name}: {len(lists[name])} instead of {number}, as patients are not divided")
    if stray:
        notes.append(f"labels without an image: {name_some(stray)}")
    if left_out:
        notes.append(f"left out: {name_some(left_out)}, without label and of a validation or test patient")
    unit = SIZE_UNITS[image_axes(cases[0].image)]
    result: Datalist = {
        "name": "custom",
        "classes": class_names(images.parent),
        "source": images.parent.name,
        "selection": "; ".join(notes),
        "seed": seed,
        **make_lists(lists["training"], unlabeled, lists["validation"], lists["test"]),
        f"label_{unit}": {case: round(size, 4) for case, size in sorted(label_sizes.items())},
        "left_out": left_out,
    }
    if loader.label_map:
        result["label_map"] = {str(stored): target for stored, target in loader.label_map.items()}
    if by_case is not None:
        result["patients"] = dict(sorted(by_case.items()))
    return finish_datalist(images, result, require_unlabeled=require_unlabeled)


def _draw_lists(
    patients: Sequence[Patient],
    wanted: Mapping[str, int],
    rng: np.random.Generator,
    *,
    all_labeled: bool,
) -> dict[str, list[Patient]]:
    """Patients of the test, validation and training list.

    In this order: so the test and validation cases of a seed stay the same whatever number is labelled.
    """
    undrawn = [patient for patient in patients if patient.labeled]
    drawn: dict[str, list[Patient]] = {}
    for name in ("test", "validation", "training"):
        take_all = name == "training" and all_labeled
        drawn[name] = undrawn if take_all else draw_patients(undrawn, wanted[name], rng)
        names = {patient.name for patient in drawn[name]}
        undrawn = [patient for patient in undrawn if patient.name not in names]
    return drawn


def draw_patients(patients: Sequence[Patient], wanted: int, rng: np.random.Generator) -> list[Patient]:
    """Patients with about ``wanted`` labelled cases in all, spread over the label sizes.

    Args:
        patients: those to draw from, each with a labelled case.
        wanted: labelled cases.
        rng: source of chance.

    Returns:
        The patients in the order of their draw. Their cases are at most ``wanted``, unless the smallest
        patient alone has more.
    """
    if not patients or wanted < 1:
        return []
    ordered = sorted(patients, key=lambda patient: (patient.label_size, patient.name))
    mean_size = sum(len(patient.labeled) for patient in ordered) / len(ordered)
    count = min(max(round(wanted / mean_size), 1), len(ordered))
    bins = [rng.permutation(indices).tolist() for indices in np.array_split(np.arange(len(ordered)), count)]
    order = [
        members[turn]
        for turn in range(max(map(len, bins)))
        for members in (bins[i] for i in rng.permutation(count))
        if turn < len(members)
    ]
    queue = [ordered[index] for index in order]
    chosen: list[Patient] = []
    missing = wanted
    for patient in queue:
        if len(patient.labeled) <= missing:
            chosen.append(patient)
            missing -= len(patient.labeled)
    return chosen or [min(queue, key=lambda patient: len(patient.labeled))]


def measure_labels(labels: Mapping[str, Path], loader: LoadCased) -> dict[str, float]:
    """Foreground (all ids but 0 and 255) of each case's label in ml, or in 2D in pixels, read with a bar.

    Raises:
        InputError: labels that cannot be read; the first is named, the others are counted.
    """

    def measure(path: Path) -> float | InputError:
        try:
            label = loader.load_label([path])
        except InputError as error:
            return error
        foreground = int(((label != 0) & (label != IGNORE)).sum())
        voxel_mm3 = abs(float(np.linalg.det(label.affine.numpy()[:3, :3])))
        return foreground * voxel_mm3 / 1000 if label.ndim == 4 else float(foreground)

    # Unpacking releases the interpreter's lock: threads help, and need not import torch anew.
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(measure, labels.values())
        measured = list(track(results, len(labels), title="labels", unit="case"))
    sizes = {case: value for case, value in zip(labels, measured, strict=True) if isinstance(value, float)}
    faults = [error for error in measured if isinstance(error, InputError)]
    if faults:
        more = f" (and {len(faults) - 1} more labels have faults)" if len(faults) > 1 else ""
        raise InputError(
            faults[0].where,
            faults[0].fault + more,
            f"{faults[0].remedy}; or take the file away, and the case is unlabelled",
        ) from faults[0]
    return sizes


def _find(images: Path, labels: Path | None) -> tuple[list[CaseFiles], Path, list[str]]:
    """The cases, the folder that holds their labels, and the names of labels without an image."""
    for folder, what in ((images, "images"), (labels, "labels")):
        if folder is not None and not folder.is_dir():
            raise InputError(folder, "no such folder", f"name the folder that holds the {what}")
    if labels is None:
        h5 = _h5_cases(images)
        if h5:
            return h5, images, []
        labels = images.parent / "labels"
    cases = pair_cases(images, labels if labels.is_dir() else None)
    if not labels.is_dir():
        return cases, labels, []
    listed = list_files(labels, axes=image_axes(cases[0].image), labels=True)
    return cases, labels, sorted(listed.keys() - {files.case for files in cases})


def _refuse_lossy(labels: Path, cases: set[str]) -> None:
    """Refuse labels in a format that cannot hold them, which are not listed."""
    for path in sorted(labels.iterdir()) if labels.is_dir() else ():
        file_format = format_of(path)
        if file_format is not None and file_format.lossy and strip_suffix(path) in cases:
            fault = f"is a label as {file_format.name}, whose compression changes class ids"
            raise InputError(path, fault, "save labels as .png")


def _h5_cases(folder: Path) -> list[CaseFiles]:
    """The cases of a folder of HDF5 files, labelled where the file holds a label."""
    try:
        listed = list_cases(folder)
    except InputError:
        return []
    cases = [files for files in listed if (kind := format_of(files.image)) is not None and kind.holds_label]
    return [files if _holds_label(files.image) else replace(files, label=None) for files in cases]


def _holds_label(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return "label" in file
    except OSError as error:
        raise InputError(path, "is no readable HDF5 file", "copy it again from its source") from error


def _patients(
    cases: Sequence[CaseFiles], by_case: Mapping[str, str] | None, label_sizes: Mapping[str, float]
) -> list[Patient]:
    grouped: dict[str, list[CaseFiles]] = {}
    for files in cases:
        grouped.setdefault(by_case[files.case] if by_case is not None else files.case, []).append(files)
    patients = []
    for name, members in sorted(grouped.items()):
        labeled = tuple(files for files in members if files.label is not None)
        sizes = [label_sizes[files.case] for files in labeled]
        patients.append(
            Patient(
                name,
                labeled,
                tuple(files for files in members if files.label is None),
                float(np.mean(sizes)) if sizes else 0.0,
            )
        )
    return patients
