"""The field's case lists: which cases train, validate and test, in published order."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medssl.common.errors import InputError, unknown_name
from medssl.common.resources import resource_folder


@dataclass(frozen=True)
class Split:
    """One published split of a data set.

    Attributes:
        name: name of the split, as given to :func:`read_split`.
        title: the data set's name for a reader.
        classes: names of the class ids 0, 1, ...
        labeled_counts: the field's labelled fractions (``"10%"``) and how many cases each stands for.
        training: cases in published order; of a volume data set the first N are the labelled ones.
        validation: the published validation list, empty where none is published.
        test: the test list, empty where none is published.
        withdrawn: cases that the archive withdrew after the lists were published, with the reason.
        partitions: labelled cases by name of the partition (natural images, whose labelled subsets are
            drawn one by one), empty where the first N of ``training`` are the labelled ones.
        sizes: lengths of the lists that are too large to be carried (COCO), by list name.
        source: the published lists, as ``owner/repository path``.
        note: what to know before using it.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    labeled_counts: Mapping[str, int]
    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    withdrawn: Mapping[str, str]
    partitions: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, int]
    source: str
    note: str

    def partition(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Labelled and unlabelled cases of a partition such as ``"1_16"``: training without the labelled.

        Raises:
            InputError: no partition has this name.
        """
        if name not in self.partitions:
            if not self.partitions:
                raise InputError(
                    f"split {self.name}", "carries no partitions", "take the first N of its training list"
                )
            raise unknown_name("partition", name, self.partitions)
        labeled = self.partitions[name]
        is_labeled = set(labeled)
        return labeled, tuple(case for case in self.training if case not in is_labeled)


def split_names() -> list[str]:
    """Names that :func:`read_split` knows, sorted."""
    return sorted(path.stem for path in resource_folder("data_splits").glob("*.json"))


def read_split(name: str) -> Split:
    """The published split called ``name`` (``la``, ``pancreas_ct``, ``pascal_voc``, ...).

    Raises:
        InputError: no split has this name.
    """
    if name not in split_names():
        raise unknown_name("split", name, split_names())
    facts: dict[str, Any] = json.loads(
        (resource_folder("data_splits") / f"{name}.json").read_text(encoding="utf-8")
    )
    return Split(
        name=facts["name"],
        title=facts["title"],
        classes=tuple(facts["classes"]),
        labeled_counts=facts.get("labeled_counts", {}),
        training=_cases(facts.get("training")),
        validation=_cases(facts.get("validation")),
        test=_cases(facts.get("test")),
        withdrawn=facts.get("withdrawn", {}),
        partitions={key: tuple(cases) for key, cases in facts.get("partitions", {}).items()},
        sizes=facts.get("sizes", {}),
        source=facts["source"],
        note=facts["note"],
    )


def _cases(stored: list[str] | dict[str, Any] | None) -> tuple[str, ...]:
    """A list of cases; one that is numbered throughout is stored as a pattern and a count."""
    if isinstance(stored, dict):
        return tuple(stored["pattern"].format(number) for number in range(1, stored["count"] + 1))
    return tuple(stored or ())


def split_sha256(lists: Mapping[str, Iterable[str]]) -> str:
    """Hash of who stands where: case names by list, whatever their order and wherever the files lie.

    Args:
        lists: case names by list name (``training``, ``unlabeled``, ``validation``, ``test``); an empty
            list counts as absent.

    Returns:
        64 hexadecimal digits. Two runs with the same value were trained, selected and tested on the
        same cases.
    """
    canonical = {name: cases for name in sorted(lists) if (cases := sorted(lists[name]))}
    return hashlib.sha256(json.dumps(canonical, separators=(",", ":")).encode()).hexdigest()
