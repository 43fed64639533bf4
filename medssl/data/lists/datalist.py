"""Datalists: which case is labelled, unlabelled, validation or test, and where its files lie."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medssl.common.errors import InputError, unknown_name
from medssl.data.lists.image_sets import IMAGE_SETS, place_images
from medssl.data.lists.layout import FORMS, CaseFiles, find_case, list_cases, name_some
from medssl.data.lists.published_splits import Split, read_split, split_sha256

Datalist = dict[str, Any]
"""A MONAI datalist (lists of items by name) with metadata beside the lists; plain JSON values throughout."""

LISTS = ("training", "unlabeled", "validation", "test")
CANONICAL = ("la", "pancreas_ct", "brats2019")
DATASETS = (*CANONICAL, *IMAGE_SETS, "phantom", "shapes", "custom")


def build_datalist(
    dataset_dir: str | Path,
    *,
    dataset: str,
    labeled: int | float | str | None,
    validation: int | float = 0,
    test: int | float = 0,
    seed: int = 0,
    allow_missing: bool = False,
    require_unlabeled: bool = True,
    exclude_withdrawn: bool = False,
) -> Datalist:
    """Datalist of a data folder.

    For a canonical data set (``la``, ``pancreas_ct``, ``brats2019``) the training list keeps its published
    order: the first ``labeled`` cases are the labelled ones, the last ``validation`` cases are for
    validation, the rest are unlabelled. The published test list, and for ``validation=0`` the published
    validation list, are used as far as their files exist. Of a published set of images (``voc``,
    ``cityscapes``, ``coco``, ``ade20k``, ``camvid``) a published subset is labelled (by its name such as
    ``"1/16"``, its size or its share), all other training images are unlabelled; what lies in
    ``images/test``, or else the published validation list, is for testing. For ``phantom``, ``shapes`` and
    ``custom`` the cases are those of ``images/``; test cases are taken from the end of those that have a
    label file, validation cases before them, the labelled ones from the beginning, and all that is left,
    with or without a label file, is unlabelled. Cases stand in the order of their names (generated ones) or
    in a seeded random order (``custom``). :func:`medssl.data.build_own_datalist` knows patients and label
    volumes as well.

    Args:
        dataset_dir: folder that holds ``images/CASE.nii.gz`` and ``labels/CASE.nii.gz`` (or ``.nii``,
            ``.nrrd``, ``.mha``), or, for a canonical data set, the field's HDF5 files.
        dataset: ``la``, ``pancreas_ct``, ``brats2019``, ``phantom``, ``shapes``, ``custom``, or one of those
            above.
        labeled: number of labelled cases, or their fraction in (0, 1) of all cases that are not test
            cases; None for all that have a label file. Of published images also the name of a subset.
        validation: number of validation cases, or their fraction, likewise.
        test: number of test cases, or their fraction in (0, 1) of all cases (unless the list is canonical).
        seed: seed of the random order (``custom``).
        allow_missing: go on with the part of a canonical training list whose files exist.
        require_unlabeled: refuse a list without an unlabelled case; False for supervised training.
        exclude_withdrawn: leave out the cases of a canonical list that its archive withdrew later.

    Returns:
        ``training``, ``validation`` and ``test`` items with ``case``, ``image`` and ``label``,
        ``unlabeled`` items with ``case`` and ``image`` only (absolute paths), and the metadata ``name``,
        ``classes``, ``source``, ``selection`` (how the cases were chosen), ``split_sha256``, and
        ``hidden_labels``: reference files of unlabelled cases by case name, for analysis and for
        :func:`medssl.data.add_reference_boxes`; training never sees them.

    Raises:
        InputError: unknown data set, missing files, or counts that leave a list without a case.
    """
    folder = Path(dataset_dir).absolute()
    if dataset not in DATASETS:
        raise unknown_name("dataset", dataset, DATASETS)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "name the folder that holds the data set")
    if dataset in IMAGE_SETS:
        if test or exclude_withdrawn or isinstance(validation, float):
            name = "test" if test else "exclude_withdrawn" if exclude_withdrawn else "validation"
            raise InputError(name, f"{dataset} has published lists", "leave it out; validation is a number")
        result = _published_images(folder, dataset, labeled, validation, allow_missing)
    elif isinstance(labeled, str):
        raise InputError(f"labeled={labeled}", f"{dataset} has no named subsets", "give a number or a share")
    elif dataset in CANONICAL:
        if test:
            raise InputError("test", f"{dataset} has a published test list", "leave test at 0")
        split = read_split(dataset)
        if exclude_withdrawn:
            split = _without_withdrawn(split)
        result = _canonical(folder, split, labeled, validation, allow_missing)
    else:
        if exclude_withdrawn:
            raise InputError("exclude_withdrawn", f"{dataset} has no published list", "leave it out")
        result = _from_folder(folder, dataset, labeled, validation, test, seed)
    return finish_datalist(folder, result, require_unlabeled=require_unlabeled)


def finish_datalist(folder: Path, result: Datalist, *, require_unlabeled: bool = True) -> Datalist:
    """Refuse a datalist that nobody can train with, and add its ``split_sha256``."""
    if not result["training"]:
        raise InputError(
            folder, "no labelled training case", "ask for at least one, and see that it has a label"
        )
    if require_unlabeled and not result["unlabeled"]:
        raise InputError(
            folder, "no unlabelled case is left", "ask for fewer labelled or validation cases, or add images"
        )
    return with_split_hash(result)


def with_split_hash(datalist: Datalist) -> Datalist:
    """The datalist with the hash of its own lists as ``split_sha256``, whatever stood there before."""
    names = {name: [item["case"] for item in datalist[name]] for name in LISTS}
    return {**datalist, "split_sha256": split_sha256(names)}


def _without_withdrawn(split: Split) -> Split:
    """The split without the cases that its archive withdrew."""
    if not split.withdrawn:
        raise InputError("exclude_withdrawn", f"no case of {split.name} was withdrawn", "leave it out")

    def kept(cases: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(case for case in cases if case not in split.withdrawn)

    return replace(
        split, training=kept(split.training), validation=kept(split.validation), test=kept(split.test)
    )


def _canonical(
    folder: Path, split: Split, labeled: int | float | None, validation: int | float, allow_missing: bool
) -> Datalist:
    files_by_case = {
        case: find_case(folder, case) for case in (*split.training, *split.validation, *split.test)
    }
    training = [files for case in split.training if (files := files_by_case[case]) is not None]
    missing = [case for case in split.training if files_by_case[case] is None]
    if missing and (not allow_missing or not training):
        raise InputError(
            folder,
            f"{len(missing)} of {len(split.training)} training cases of {split.name} are missing "
            f"({name_some(missing)})",
            f"expected {FORMS}" + (", or pass allow_missing=True to use a part" if training else ""),
        )
    validation_count = count_cases("validation", validation, len(training))
    last = len(training) - validation_count
    count = last if labeled is None else count_cases("labeled", labeled, len(training))
    if count > last:
        raise InputError(
            "labeled",
            f"{count} labelled and {validation_count} validation cases asked of {len(training)}",
            "ask for fewer",
        )
    published = [
        files for case in split.validation if (files := files_by_case[case]) is not None and files.label
    ]
    test_cases = [files for case in split.test if (files := files_by_case[case]) is not None and files.label]
    notes = [f"labelled: the first {count} of the published training list"]
    if validation_count:
        notes.append(f"validation: its last {validation_count}")
    elif split.validation:
        notes.append(f"validation: {len(published)} of the {len(split.validation)} published cases")
    notes.append(f"test: {len(test_cases)} of the {len(split.test)} published cases")
    if missing:
        notes.append(f"{len(missing)} training cases missing")
    withdrawn = [case for case in split.withdrawn if files_by_case.get(case) is not None]
    if withdrawn:
        notes.append(f"holds {', '.join(withdrawn)}, which the archive withdrew as repeats of a patient")
    elif split.withdrawn:
        notes.append(f"withdrawn cases left out: {', '.join(split.withdrawn)}")
    validated = training[last:] if validation_count else published
    lists = make_lists(training[:count], training[count:last], validated, test_cases)
    return {
        "name": split.name,
        "classes": list(split.classes),
        "source": split.source,
        "selection": "; ".join(notes),
        **lists,
    }


def _published_images(
    folder: Path, dataset: str, labeled: int | float | str | None, validation: int, allow_missing: bool
) -> Datalist:
    split, files, selection = place_images(folder, dataset, labeled, validation, allow_missing)
    return {
        "name": dataset,
        "classes": list(split.classes),
        "source": split.source,
        "selection": selection,
        **make_lists(files["training"], files["unlabeled"], files["validation"], files["test"]),
    }


def _from_folder(
    folder: Path,
    dataset: str,
    labeled: int | float | None,
    validation: int | float,
    test: int | float,
    seed: int,
) -> Datalist:
    cases = list_cases(folder)
    if dataset == "custom":
        cases = [cases[i] for i in np.random.default_rng(seed).permutation(len(cases))]
    candidates = [files for files in cases if files.label is not None]
    if not candidates:
        raise InputError(
            folder / "labels",
            f"no label file bears the name of an image (the first image is {cases[0].image.name})",
            "name labels/CASE.nii.gz as images/CASE.nii.gz",
        )
    test_count = count_cases("test", test, len(cases))
    validation_count = count_cases("validation", validation, len(cases) - test_count)
    available = len(candidates) - test_count - validation_count
    count = available if labeled is None else count_cases("labeled", labeled, len(cases) - test_count)
    if available < max(count, 1):
        raise InputError(
            "labeled",
            f"{count} labelled, {validation_count} validation and {test_count} test cases asked of "
            f"{len(candidates)} cases that have a label",
            "ask for fewer or add labels",
        )
    chosen = candidates[:count]
    placed = {files.case for files in (*chosen, *candidates[available:])}
    order = f"random order, seed {seed}" if dataset == "custom" else "order of names"
    lists = make_lists(
        chosen,
        [files for files in cases if files.case not in placed],
        candidates[available : available + validation_count],
        candidates[available + validation_count :],
    )
    return {
        "name": dataset,
        "classes": class_names(folder),
        "source": folder.name,
        "selection": f"{order}; of {len(cases)} cases {len(candidates)} have a label: "
        f"the first {count} are labelled, the last {test_count} are test, the {validation_count} before them "
        "validation",
        **lists,
    }


def count_cases(name: Literal["labeled", "validation", "test"], wanted: int | float, total: int) -> int:
    """A number of cases from a number or a fraction.

    A fraction gives the nearest whole number (a half the even one), but at least one.
    """
    if isinstance(wanted, float) and wanted != 0:
        if not 0 < wanted < 1:
            raise InputError(
                name, f"{wanted} is no fraction", "give a whole number or a fraction between 0 and 1"
            )
        return max(round(wanted * total), 1)
    if wanted < 0 or wanted > total:
        raise InputError(name, f"{wanted} cases asked of {total}", "ask for fewer")
    return int(wanted)


def make_lists(
    training: Sequence[CaseFiles],
    unlabeled: Sequence[CaseFiles],
    validation: Sequence[CaseFiles],
    test: Sequence[CaseFiles],
) -> Datalist:
    """The four lists of items and ``hidden_labels`` from the files of the cases."""
    lists: Datalist = {}
    for name, cases in (("training", training), ("validation", validation), ("test", test)):
        without = [files.case for files in cases if files.label is None]
        if without:
            raise InputError(
                f"{name} cases {name_some(without)}", "no label file", "add labels/CASE.nii.gz for each"
            )
        lists[name] = [
            {"case": files.case, "image": str(files.image), "label": str(files.label)} for files in cases
        ]
    lists["unlabeled"] = [{"case": files.case, "image": str(files.image)} for files in unlabeled]
    lists["hidden_labels"] = {files.case: str(files.label) for files in unlabeled if files.label is not None}
    return lists


def class_names(folder: Path) -> list[str] | None:
    """Class names from a ``dataset.json`` beside ``images/``, None where there is none."""
    path = folder / "dataset.json"
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(path, f"is not valid JSON ({error})", "repair or remove it") from error
    classes = facts.get("classes") if isinstance(facts, dict) else None
    if isinstance(classes, dict):  # names by class id; of no use as a list where ids are left out
        ids = [str(number) for number in range(len(classes))]
        classes = [classes[key] for key in ids] if set(ids) == set(classes) else None
    return [str(name) for name in classes] if isinstance(classes, list) else None
