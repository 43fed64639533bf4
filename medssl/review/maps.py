"""The maps of predictions as files, for MONAI's way of deploying a bundle."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events

from medssl.review.kinds import KINDS
from medssl.review.names import ReviewNames
from medssl.review.nifti_maps import refuse_existing
from medssl.review.voxel_maps import map_files

logger = logging.getLogger(__name__)


class MapWriter:
    """Writes the maps of every prediction: ``<case>_seg.nii.gz``, ``<case>_confidence.nii.gz`` and so on.

    For every item of the output of a :class:`medssl.inference.ScanEvaluator`; of images PNG files. A file of
    a case that exists already stops the evaluation before any of that case is written.

    Args:
        out: the folder; made where it is missing.
        overwrite: replace files that are there.
        class_names: of the classes, for the colours of images.
    """

    def __init__(
        self, out: str | Path, *, overwrite: bool = False, class_names: Sequence[str] | None = None
    ) -> None:
        self.out, self.overwrite, self.class_names = out, overwrite, class_names or ()

    def attach(self, engine: Engine) -> None:
        """Write the cases of this evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)

    def iteration_completed(self, engine: Engine) -> None:
        """Write the cases of a batch."""
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            meta, case, prediction = item["image"].meta, str(item["case"]), output["prediction"]
            kind = KINDS[prediction.labels.ndim]
            names = ReviewNames(self.out, kind=kind)
            classes = kind.classes(len(prediction.soft_overlap), self.class_names)
            files = {names.path(file.name, case, label=file.label): file for file in map_files(prediction)}
            for path in files:
                refuse_existing(path, self.overwrite)
            for path, file in files.items():
                kind.write_map(
                    path,
                    file,
                    source=Path(meta["filename_or_obj"]),
                    affine=np.asarray(meta["original_affine"], np.float64),
                    classes=classes,
                )
            logger.info("%s: wrote %s", case, ", ".join(path.name for path in files))
