"""The cases of a training with the maps of an annotator, for a method that learns from one."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose
from torch import Tensor

from medssl.annotators.folder import MapFolder
from medssl.common.errors import InputError
from medssl.common.files import atomic_path
from medssl.common.progress import track
from medssl.common.ranks import on_first_rank
from medssl.common.run_folder import RunFolder
from medssl.data import LoadCased, contents_sha256, preprocessing
from medssl.data.lists.datalist_file import files_of
from medssl.data.reading.annotations import ANNOTATION, AnnotationLabels, annotated_preprocessing
from medssl.reliability import ConformalCalibrator
from medssl.training.cases import TrainingCases

Item = dict[str, Any]


class AnnotatedCases:
    """The cases of a training, the unlabelled ones with their annotation maps where the method wants them.

    The labels that a training sees are made of whole images before anything is cropped. The calibrator is
    fitted once, on the maps and labels of the labelled images, at the first start of a training.

    Args:
        cases: of the training.
        folder: of the annotation maps; None where there are none.
        views: those of the method; without ``"annotation"`` among them the cases stay as they are and
            ``folder`` is not looked at.
        num_classes: classes that every map must have.
        calibrator: makes labels of maps, once it is fitted; None for the most probable class everywhere.
        background: class id that gives way to every other of a prediction set; None for none such.

    Attributes:
        training: as :attr:`TrainingCases.training`; unlabelled items hold the path of their map, too.
        hidden_labels: likewise.

    Raises:
        InputError: no folder, an image without a map (all that the labels are made of are looked up), a
            first map that cannot be read or has other classes, or a background that is no class.
    """

    def __init__(
        self,
        cases: TrainingCases,
        *,
        folder: str | Path | Sequence[str | Path] | None,
        views: Sequence[str],
        num_classes: int,
        calibrator: ConformalCalibrator | None = None,
        background: int | None = None,
    ) -> None:
        self.calibrator, self.background, self.labeled = calibrator, background, cases.labeled
        self.training, self.hidden_labels = cases.training, cases.hidden_labels
        self.maps: MapFolder | None = None
        if ANNOTATION not in views:
            return
        if folder is None:
            remedy = "name the folder of annotation maps, which `medssl annotate` makes"
            raise InputError("annotations", "is not given, and the method learns from an annotator", remedy)
        if background is not None and not 0 <= background < num_classes:
            raise InputError(
                f"background={background}", "is no class", f"give 0 to {num_classes - 1}, or null"
            )
        self.maps = MapFolder(folder, num_classes=num_classes)
        read = [*(cases.labeled if calibrator is not None else ()), *cases.unlabeled]
        missing = [item for item in read if item["image"] not in self.maps]
        if missing:
            fault = f"there is no annotation map for {len(missing)} of {len(read)} images in {folder}"
            raise InputError(f"{next(files_of(missing[0], 'image'))}", fault, "annotate them, too")
        if read:
            self.maps.read(read[0]["image"])
        self.training = [*cases.labeled, *map(self._with_map, cases.unlabeled)]
        self.hidden_labels = [self._with_map(item) for item in cases.hidden_labels]

    @cached_property
    def maps_sha256(self) -> str | None:
        """Hash of the maps that labels are made of; None without any."""
        if self.maps is None:
            return None
        labeled = map(self._with_map, self.labeled) if self.calibrator is not None else ()
        return contents_sha256({"training": [*labeled, *self.training]}, ["training"], keys=(ANNOTATION,))

    def preprocessing(
        self,
        transforms: Sequence[Any],
        orientation: str | None,
        *,
        run: RunFolder,
        resume: bool = False,
    ) -> Compose:
        """The preprocessing of a config, for images, labels and the annotator's labels.

        With several processes the first one fits the calibrator, and the others wait. Its state lies in
        ``calibrator.pt`` of the run, from which a resumed training reads it.

        Args:
            transforms: as for :func:`medssl.data.preprocessing`.
            orientation: likewise.
            run: the run's folder.
            resume: go on with the run there.

        Raises:
            InputError: a map or label that cannot be read, or what the calibrator refuses.
        """
        composed = preprocessing(transforms, orientation)
        if self.maps is None:
            return composed
        labels = AnnotationLabels(
            self.maps.read, calibrator=self.calibrator, background=self.background, orientation=orientation
        )
        if self.calibrator is not None:
            has_begun = resume and (run.path / "last.pt").is_file()
            if not (has_begun and run.calibrator.is_file()):
                load = next(step for step in composed.transforms if isinstance(step, LoadCased))
                on_first_rank(partial(self._fit, self.calibrator, self._pairs(labels, load), run.calibrator))
            # What a resumed training reads is what this one uses.
            _load(self.calibrator, run.calibrator)
        return annotated_preprocessing(composed, labels)

    def _fit(
        self, calibrator: ConformalCalibrator, pairs: Iterator[tuple[Tensor, Tensor]], path: Path
    ) -> None:
        calibrator.fit(pairs)
        with atomic_path(path) as temporary:
            torch.save(calibrator.state_dict(), temporary)

    def _pairs(self, labels: AnnotationLabels, load: LoadCased) -> Iterator[tuple[Tensor, Tensor]]:
        """Probabilities and labels of the labelled images."""
        for item in track(self.labeled, len(self.labeled), title="calibrating", unit="case", inner=True):
            yield labels.pair(item["image"], load.load_label(list(files_of(item, "label"))))

    def _with_map(self, item: Mapping[str, Any]) -> Item:
        if self.maps is None:
            return dict(item)
        return {**item, ANNOTATION: str(self.maps.path(item["image"]))}


def _load(calibrator: ConformalCalibrator, path: Path) -> None:
    """Read the state of a calibrator."""
    try:
        calibrator.load_state_dict(torch.load(path, weights_only=True))
    except InputError:
        raise
    except Exception as error:  # a damaged file raises whatever its damage leads to
        raise InputError(path, "is no state of a calibrator", "start the run anew with overwrite") from error
