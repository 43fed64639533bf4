"""Classes of whole lists of labels: what is wrong with them before a training starts on them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from medssl.common.constants import IGNORE
from medssl.data.checks.findings import Finding, refuse
from medssl.data.lists.datalist_file import files_of
from medssl.data.reading.loading import LoadCased


def validate_labels(
    training: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]] = (),
    *,
    num_classes: int,
    label_map: Mapping[Any, Any] | None = None,
    allow_absent_classes: bool = False,
) -> None:
    """Open the labels of a training and refuse, in the words of ``medssl check``, what would be learnt wrong.

    Only the labels that the training loads anyway are opened, one after another; images and whatever is
    unlabelled are not.

    Args:
        training: labelled items.
        validation: items on which the training is validated.
        num_classes: classes including background.
        label_map: see :class:`medssl.data.LoadCased`.
        allow_absent_classes: train although no labelled case shows some class.

    Raises:
        InputError: a label cannot be read, holds other ids than the classes or 255 throughout; all labelled
            cases together show 0 and 255 alone, or lack a class.
    """
    loader = LoadCased("label", label_map=label_map, num_classes=num_classes)
    shown: set[int] = set()
    for item in training:
        shown |= set(loader.load_label(list(files_of(item, "label"))).unique().tolist())
    refuse(
        class_findings(
            {"training": shown}, num_classes=num_classes, allow_absent_classes=allow_absent_classes
        )
    )
    for item in validation:
        loader.load_label(list(files_of(item, "label")))


def check_first_case(items: Sequence[Mapping[str, Any]], load: Callable[[Mapping[str, Any]], Any]) -> None:
    """Load the first case as a training will.

    So an option that fits no case, such as another number of channels, is refused before a run's folder is
    made; a fault of a later case is refused when that one is loaded.

    Args:
        items: of the training.
        load: :class:`medssl.data.LoadCased` of the training.

    Raises:
        InputError: what ``load`` refuses.
    """
    if items:
        load(items[0])


def class_findings(
    shown: Mapping[str, set[int]], *, num_classes: int | None, allow_absent_classes: bool = False
) -> Iterator[Finding]:
    """Classes that a list should show and does not.

    Args:
        shown: class ids by list, of all its labels together; lists without a label are left out.
        num_classes: classes including background, None where their number is not known: then the classes of
            all lists together are expected of each.
        allow_absent_classes: a class that the labelled cases lack is a warning.
    """
    everywhere = set().union(*shown.values())
    wanted = set(range(1, num_classes)) if num_classes is not None else everywhere - {0, IGNORE}
    for split, ids in shown.items():
        where, trains = f"list {split!r}", split == "training"
        if trains and ids == {0, IGNORE} and (num_classes is None or num_classes <= IGNORE):
            yield Finding(
                "label-0-255",
                where,
                "its labels hold 0 and 255 alone, and 255 counts as not labelled",
                'say which class 255 stands for: label_map {"255": 1}',
                split=split,
            )
            continue
        absent = sorted(wanted - ids)
        if not absent:
            continue
        numbers = ", ".join(map(str, absent))
        fault = f"no label shows class{'es' * (len(absent) > 1)} {numbers}"
        if not trains:
            yield Finding("class-absent", where, fault, "add a case that does", split=split)
            continue
        highest = max((k for k in ids if k != IGNORE), default=0)
        fewer = f", ask for {highest + 1} classes" if 0 < highest < absent[0] else ""
        remedy = f"label a case that does{fewer}, or train with allow_absent_classes"
        code = "class-absent" if allow_absent_classes else "class-untrained"
        yield Finding(code, where, fault, remedy, split=split)
