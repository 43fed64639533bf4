"""What the metrics of probabilities share: sums that images are added to, of a size that does not grow.

torchmetrics has the calibration error and the Jaccard index, but keeps every pixel's confidence for the first
(8 GB on the Cityscapes validation set) and none of the rest; the tests compare with it where it has one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ArrayLike = Tensor | NDArray[Any]
Self = TypeVar("Self", bound="PooledMetric")


class PooledMetric(ABC):
    """Sums over images.

    ``update`` adds a batch, ``merge`` another object's sums, ``reduce`` those of all processes; the number
    that follows does not depend on how images were divided. Sums are float64.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    @abstractmethod
    def update(self, probs: ArrayLike, labels: ArrayLike) -> None:
        """Add images: probabilities ``(B, K, *S)`` or ``(K, *S)`` and class ids ``(B, *S)`` or ``(*S)``."""

    def add(self, name: str, value: Tensor | float) -> None:
        """Add to one of the sums."""
        value = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
        self.sums[name] = self.sums[name] + value if name in self.sums else value

    def total(self, name: str) -> Tensor:
        """One of the sums; 0 before anything was added."""
        return self.sums.get(name, torch.zeros((), dtype=torch.float64))

    def merge(self: Self, other: Self) -> None:
        """Add the sums of another object of this kind."""
        for name, value in other.sums.items():
            self.add(name, value)

    def reduce(self) -> None:
        """Add the sums of all processes of ``torch.distributed``, where there are several."""
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        # Objects, because a process that saw no image has no sums.
        gathered: list[dict[str, Tensor] | None] = [None] * distributed.get_world_size()
        distributed.all_gather_object(gathered, self.sums)
        self.sums = {}
        for sums in gathered:
            for name, value in (sums or {}).items():
                self.add(name, value)


def ratio(numerator: Tensor, denominator: Tensor) -> float:
    """A quotient of sums; NaN where the denominator is 0."""
    return float(numerator / denominator) if float(denominator) else float("nan")


def predicted(probs: Tensor) -> Tensor:
    """The most probable class of every pixel ``(N)`` from ``(K, N)``; the first of equals.

    ``argmax(0)``, in a quarter of its time: torch vectorises the maximum over a leading axis alone.
    """
    return probs.max(0).indices


def images_of(probs: ArrayLike, labels: ArrayLike) -> Iterator[tuple[Tensor, Tensor]]:
    """Image by image, probabilities ``(K, N)`` in float32 and class ids ``(N)``.

    Args:
        probs: ``(B, K, *S)``, or ``(K, *S)`` for one image.
        labels: ``(B, *S)``, or ``(*S)``. Where both readings fit, the batch counts: whoever has one image of
            any size hands it over as a batch.

    Raises:
        ValueError: shapes that do not belong together.
    """
    p = torch.as_tensor(np.ascontiguousarray(probs) if isinstance(probs, np.ndarray) else probs).detach()
    y = torch.as_tensor(labels.astype(np.int64) if isinstance(labels, np.ndarray) else labels).detach()
    if p.ndim >= 3 and y.shape == (p.shape[0], *p.shape[2:]):
        pairs = [(p[i], y[i]) for i in range(len(p))]
    elif p.ndim >= 2 and y.shape == p.shape[1:]:
        pairs = [(p, y)]
    else:
        raise ValueError(
            "probs (B, K, *S) and labels (B, *S), or (K, *S) and (*S), must belong together, "
            f"got {tuple(p.shape)} and {tuple(y.shape)}"
        )
    for values, ids in pairs:
        yield values.flatten(1).float(), ids.flatten().long()


def valid(probs: Tensor, labels: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Without ignored pixels.

    Raises:
        ValueError: a class id outside ``0`` to ``K - 1`` that is not ``ignore_index``.
    """
    if ignore_index is not None:
        keep = labels != ignore_index
        if not keep.all():
            probs, labels = probs[:, keep], labels[keep]
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(probs):
        raise ValueError(
            f"labels must be class ids in 0 to {len(probs) - 1} or ignore_index={ignore_index}, "
            f"got {int(labels.min())} to {int(labels.max())}"
        )
    return probs, labels
