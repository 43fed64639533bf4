"""What a plan needs to know of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medssl.common.errors import InputError
from medssl.data.checks.run import CheckResult
from medssl.planning.measures import CaseMeasures

TRAINS = ("training", "unlabeled")
"""Lists that decisions may look at. Cases that are predicted, and not trained on, only count."""


@dataclass(frozen=True)
class Fingerprint:
    """Measures of all cases that are trained on, and how many others there are.

    Attributes:
        labeled: labelled cases for training.
        unlabeled: those without a label.
        validation: number of cases.
        test: number of cases.
        class_names: of all classes, background first.
        named: whether the datalist names the classes.
        name: of the data set.
    """

    labeled: tuple[CaseMeasures, ...]
    unlabeled: tuple[CaseMeasures, ...] = ()
    validation: int = 0
    test: int = 0
    class_names: tuple[str, ...] = ("background", "class 1")
    named: bool = True
    name: str = "custom"

    @property
    def cases(self) -> tuple[CaseMeasures, ...]:
        """All cases that are trained on."""
        return (*self.labeled, *self.unlabeled)

    @property
    def num_classes(self) -> int:
        """Classes, background included."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Channels of every scan."""
        return self.cases[0].channels

    @property
    def spacing(self) -> tuple[float, ...]:
        """Median along each axis, mm."""
        return _median([case.spacing for case in self.cases])

    @property
    def box_share(self) -> float:
        """Median share of a scan's volume in the box of what lies above its minimum."""
        shares = [np.prod(case.cropped_size) / np.prod(case.size) for case in self.cases]
        return float(np.median(shares))

    @property
    def zero_share(self) -> float:
        """Median share of a scan's voxels that are 0 in all channels."""
        return float(np.median([case.zero_share for case in self.cases]))

    def size_mm(self, *, cropped: bool) -> tuple[float, ...]:
        """Median extent of a scan along each axis, of its box where ``cropped``."""
        return _median(
            [
                tuple(n * side for n, side in zip(size, case.spacing, strict=True))
                for case in self.cases
                for size in [case.cropped_size if cropped else case.size]
            ]
        )

    def extents(self, quantile: float) -> Mapping[int, tuple[float, ...]]:
        """Of each class the extent in mm along each axis, at a ``quantile`` of its labelled cases."""
        numbers = sorted({number for case in self.labeled for number in case.classes})
        return {
            number: tuple(
                np.quantile(
                    [case.classes[number].extent for case in self.labeled if number in case.classes],
                    quantile,
                    axis=0,
                ).tolist()
            )
            for number in numbers
        }


def fingerprint_of(result: CheckResult, *, where: str, name: str) -> Fingerprint:
    """The fingerprint of a checked data set.

    Args:
        result: of :func:`medssl.data.checks.run.check_datalist` with
            :func:`medssl.planning.measure_case` as ``examine``.
        where: the datalist, for words.
        name: of the data set.

    Raises:
        InputError: the check found an error, these are 2D images, or scans differ in their channels.
    """
    errors = [finding for finding in result.findings if finding.severity == "error"]
    if errors:
        count = f"medssl check finds {len(errors)} error{'s' * (len(errors) > 1)}"
        fault = f"{count}, first {errors[0].where}: {errors[0].fault}"
        raise InputError(where, fault, "repair the data set, and plan then")
    if not result.is_volumetric:
        fault = "lists 2D images, and a plan is for scans"
        raise InputError(where, fault, "take an overlay of the bundle natural_image")
    by_list = {
        split: tuple(case.measures for case in result.cases if case.split == split) for split in TRAINS
    }
    channels = sorted({case.channels for cases in by_list.values() for case in cases})
    if len(channels) > 1:
        fault = f"lists scans of {' and '.join(map(str, channels))} channels"
        raise InputError(where, fault, "keep the same channels in every scan")
    names = result.class_names
    if names is None:
        highest = max((number for case in by_list["training"] for number in case.classes), default=1)
        classes = result.num_classes or highest + 1
        names = ("background", *(f"class {number}" for number in range(1, classes)))
    return Fingerprint(
        labeled=by_list["training"],
        unlabeled=by_list["unlabeled"],
        validation=sum(case.split == "validation" for case in result.cases),
        test=sum(case.split == "test" for case in result.cases),
        class_names=tuple(names),
        named=result.class_names is not None,
        name=name,
    )


def _median(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in np.median(np.asarray(rows, float), axis=0))
