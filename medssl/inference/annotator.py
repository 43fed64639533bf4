"""A trained model of this program as an annotator: a network from other cases, or from another hospital."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medssl.annotators import ImageFiles
from medssl.common.errors import InputError
from medssl.common.files import sha256_of_file
from medssl.data.reading.loading import IMAGE_KEY
from medssl.inference.deployment import load_deployment


class RunAnnotator:
    """Probabilities of a trained model, by the one path that ``medssl predict`` goes, too.

    Args:
        checkpoints: one, or the members of an ensemble.
        classes: names of the classes; by default those that the model was trained with.
        allow: see :func:`medssl.inference.load_deployment`.
        options: of :meth:`medssl.inference.Deployment.predictor`: ``stride``, ``amp``, ``device``.

    Raises:
        InputError: as :func:`medssl.inference.load_deployment`.
    """

    def __init__(
        self,
        checkpoints: Sequence[str | Path],
        *,
        classes: Sequence[str] = (),
        allow: Collection[str] = (),
        **options: Any,
    ) -> None:
        self.deployment = load_deployment(checkpoints, allow=allow)
        trained = self.deployment.description
        names = list(classes) or list(trained.class_names or ())
        self.classes = tuple(names or (f"class {index}" for index in range(trained.num_classes)))
        if len(self.classes) != trained.num_classes:
            fault = f"are {len(self.classes)}, the model has {trained.num_classes}"
            raise InputError(f"classes {', '.join(self.classes)}", fault, "name each of them")
        self.axes = len(trained.patch_size)
        self.predictor = self.deployment.predictor(keep_probabilities=True, **options)

    @property
    def record(self) -> Mapping[str, Any]:
        """The checkpoints by what they hold."""
        return {
            "model": "run",
            "weights": [path.parent.absolute().name for path in self.deployment.checkpoints],
            "weights_version": [sha256_of_file(path) for path in self.deployment.checkpoints],
            "stride": None if self.predictor.stride is None else list(self.predictor.stride),
        }

    def annotate(self, image: ImageFiles) -> NDArray[np.float32]:
        """See :class:`medssl.annotators.base.Annotator`; on the voxels, or pixels, of the file.

        Raises:
            InputError: the file cannot be read, or is none of the kind that the model was trained with.
        """
        source = str(image) if isinstance(image, (str, Path)) else [str(path) for path in image]
        with torch.inference_mode():
            loaded = self.deployment.transform({IMAGE_KEY: source})[IMAGE_KEY]
            probabilities = self.predictor(loaded).probabilities
        return np.asarray(probabilities, np.float32)
