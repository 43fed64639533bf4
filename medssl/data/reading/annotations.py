"""An annotator's labels, brought through a preprocessing together with the image that they belong to."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform
from numpy.typing import NDArray
from torch import Tensor

from medssl.data.reading.loading import IMAGE_KEY, LoadCased
from medssl.data.reading.orientation import StorageOrder, parse_orientation, storage_order
from medssl.reliability.grids import on_grid

ANNOTATION = "annotation"
"""Key of an item's annotation map, and of the labels that are made of it."""

LABEL_KEY = "label"

ReadMap = Callable[[Any], NDArray[np.float32]]
"""Probabilities ``(K, *S)`` of an image, by its file or files."""


class Calibrator(Protocol):
    """What makes labels of probabilities, such as :class:`medssl.reliability.ConformalCalibrator`."""

    def calibrated_labels(self, probs: Tensor, background: int | None = 0) -> Tensor:
        """Probabilities ``(B, K, *S)`` to class ids ``(B, *S)``, 255 where ignored."""


class AnnotationLabels:
    """Labels of annotation maps, on the grid on which their images are stored.

    Probabilities are brought to that grid linearly, and those of scans to one orientation first: a calibrator
    that looks at places looks at the same ones whatever the order in which a scan is stored.

    Args:
        read: the map of an image, in the order in which the image is stored
            (:meth:`medssl.annotators.MapFolder.read`).
        calibrator: makes the labels; None for the most probable class everywhere.
        background: class id that gives way to others, None where there is no such class; for the calibrator.
        orientation: of scans, such as ``"RAS"``; None for the order in which each is stored.
    """

    def __init__(
        self,
        read: ReadMap,
        *,
        calibrator: Calibrator | None = None,
        background: int | None = None,
        orientation: str | None = None,
    ) -> None:
        self.read, self.calibrator, self.background = read, calibrator, background
        self.orientation = parse_orientation(orientation)

    def pair(self, image: Any, label: MetaTensor) -> tuple[Tensor, Tensor]:
        """What a calibrator is fitted on: probabilities ``(K, *T)`` and labels ``(*S)`` of a labelled image.

        Args:
            image: file or files of the image.
            label: ``(1, *S)`` as loaded.

        Raises:
            InputError: what ``read`` refuses.
        """
        order = self._order(label)
        probs = torch.from_numpy(np.ascontiguousarray(order.oriented(self.read(image))))
        ids = np.ascontiguousarray(order.oriented(label.as_tensor().numpy()[0]))
        return probs, torch.from_numpy(ids).long()

    def label(self, image: Any, volume: MetaTensor) -> Tensor:
        """The annotator's labels of an image, uint8 ``(1, *S)``, 255 where they are not believed.

        Args:
            image: file or files of the image.
            volume: the image ``(C, *S)`` as loaded.

        Raises:
            InputError: what ``read`` refuses.
        """
        order = self._order(volume)
        size = [volume.shape[1:][axis] for axis in order.axes]
        probs = np.ascontiguousarray(order.oriented(self.read(image)))
        resized = on_grid(torch.from_numpy(probs).unsqueeze(0), size)
        if self.calibrator is None:
            ids = resized.argmax(1)
        else:
            ids = self.calibrator.calibrated_labels(resized, self.background)
        stored = _stored(order, ids[0].to(torch.uint8).numpy())
        return torch.from_numpy(np.ascontiguousarray(stored)).unsqueeze(0)

    def _order(self, volume: MetaTensor) -> StorageOrder:
        axes = tuple(range(volume.ndim - 1))
        if self.orientation is None or len(axes) < 3:
            return StorageOrder(axes, (False,) * len(axes))
        return storage_order(volume.affine.numpy(), self.orientation)


def _stored(order: StorageOrder, oriented: NDArray[Any]) -> NDArray[Any]:
    """A view in stored order of an array in oriented order: :meth:`StorageOrder.oriented` undone."""
    flipped = np.flip(oriented, tuple(axis for axis, flip in enumerate(order.flips) if flip))
    return flipped.transpose(np.argsort(order.axes))


def annotated_preprocessing(preprocessing: Compose, labels: AnnotationLabels) -> Compose:
    """A preprocessing that also makes and moves an annotator's labels.

    An item with the key ``annotation`` ends with the annotator's labels there, ``(1, *S)`` on the grid of its
    image. Until then they are (a further channel of) its ``label``, so that whatever a preprocessing does to
    labels it does to them. Other items pass as before.

    Args:
        preprocessing: from :func:`medssl.data.preprocessing`; its first step that is a
            :class:`medssl.data.LoadCased` loads.
        labels: makes them.

    Raises:
        ValueError: a preprocessing that loads nothing.
    """
    steps = list(preprocessing.transforms)
    place = next((number for number, step in enumerate(steps) if isinstance(step, LoadCased)), None)
    if place is None:
        raise ValueError("preprocessing must load its cases by LoadCased")
    steps[place] = LoadAnnotatedd(steps[place], labels)
    return Compose([*steps, SplitAnnotationd()])


class LoadAnnotatedd(MapTransform):  # type: ignore[misc]
    """Load a case and put the annotator's labels behind its own, as the last channel of ``label``.

    Args:
        load: loads the case.
        labels: makes the labels.
    """

    def __init__(self, load: LoadCased, labels: AnnotationLabels) -> None:
        super().__init__((*load.keys, ANNOTATION), allow_missing_keys=True)
        self.load, self.labels = load, labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load.

        Raises:
            InputError: what the file or the map is refused for.
        """
        item: dict[Hashable, Any] = self.load(data)
        if ANNOTATION not in item:
            return item
        image: MetaTensor = item[IMAGE_KEY]
        annotated = self.labels.label(data[IMAGE_KEY], image)
        own = [item[LABEL_KEY].as_tensor()] if LABEL_KEY in item else []
        item[LABEL_KEY] = MetaTensor(torch.cat([*own, annotated])).copy_meta_from(image)
        return item


class SplitAnnotationd(MapTransform):  # type: ignore[misc]
    """Take the annotator's labels out of ``label`` again.

    Args:
        keys: of the annotator's labels.
    """

    def __init__(self, keys: KeysCollection = (ANNOTATION,)) -> None:
        super().__init__(keys, allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Split."""
        item = dict(data)
        for key in self.key_iterator(item):
            both = item.pop(LABEL_KEY)
            item[key] = both[-1:].contiguous()
            if len(both) > 1:
                item[LABEL_KEY] = both[:-1].contiguous()
        return item
