"""What a kind of review owes: its files, its measurements, and the words of its page."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from medssl.inference.predictor import Prediction
from medssl.review.measurements import CaseMeasurements
from medssl.review.options import PackageOptions
from medssl.review.segments import SegmentClass
from medssl.review.voxel_maps import MapFile


@dataclass(frozen=True)
class PageWords:
    """What ``index.html`` says and shows.

    Attributes:
        pictures: files of which a small copy is shown, by what they are called in side-cars.
        alt: of such a copy, before the name of the case.
        tools: how the files are opened.
        use: what they are for; empty for nothing to be said.
        legend: show the colours of the classes.
    """

    pictures: tuple[str, ...]
    alt: str
    tools: str
    use: str = ""
    legend: bool = False


@dataclass(frozen=True)
class ReviewedCase:
    """A predicted case, as its files are made from it.

    Attributes:
        case: its name.
        source: the file, or folder, that was predicted.
        affine: ``(4, 4)`` of the source.
        shown: what pictures are drawn on, of :meth:`ReviewKind.shown`.
        prediction: on the grid of the source.
        measurements: of the prediction.
        classes: names and colours.
    """

    case: str
    source: Path
    affine: NDArray[np.float64]
    shown: NDArray[np.uint8]
    prediction: Prediction
    measurements: CaseMeasurements
    classes: Sequence[SegmentClass]


@dataclass
class Written:
    """Files beside the maps, by what they are, and what was wrong with any."""

    files: dict[str, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class ReviewKind(ABC):
    """A kind of review.

    Attributes:
        axes: of what is predicted.
        noun: what a case is called.
        first_class: id of the first class that is segmented: 1 where class 0 is background.
        empty_counts: whether a class that prediction and reference both lack is scored, as right.
        flat: file names, by what the file is, with ``{case}`` and ``{label}``; the side-car's among them.
        bids: the same as BIDS derivatives; empty where BIDS has none.
        class_table: file that names the classes.
        words: of the page.
    """

    axes: int
    noun: str
    first_class: int
    empty_counts: bool
    flat: Mapping[str, str]
    bids: Mapping[str, str]
    class_table: str
    words: PageWords

    @abstractmethod
    def check(self, options: PackageOptions) -> None:
        """Refuse options that are not for this kind.

        Raises:
            InputError: one of them.
        """

    @abstractmethod
    def classes(self, num_classes: int, names: Sequence[str]) -> tuple[SegmentClass, ...]:
        """The classes that are segmented, with the names that the training gave them."""

    @abstractmethod
    def write_tables(self, folder: Path, classes: Sequence[SegmentClass]) -> None:
        """Write names and colours of the classes."""

    @abstractmethod
    def shown(self, image: MetaTensor) -> NDArray[np.uint8]:
        """What pictures are drawn on, from the image as it was loaded, ``(C, *S)``."""

    @abstractmethod
    def measure(self, prediction: Prediction, affine: NDArray[np.float64]) -> CaseMeasurements:
        """What a reviewer should know before looking."""

    @abstractmethod
    def write_map(
        self,
        path: Path,
        file: MapFile,
        *,
        source: Path,
        affine: NDArray[np.float64],
        classes: Sequence[SegmentClass],
    ) -> None:
        """Write a map on the grid of the source, over a file that is there."""

    @abstractmethod
    def write_others(
        self, reviewed: ReviewedCase, paths: Mapping[str, Path], options: PackageOptions
    ) -> Written:
        """Write what there is beside the maps, such as pictures, to the ``paths`` of this kind's names."""

    @abstractmethod
    def facts(self, affine: NDArray[np.float64]) -> dict[str, Any]:
        """What a side-car says of the source beside its shape."""

    @abstractmethod
    def columns(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Columns of the worklist, from the ``statistics`` of a side-car."""
