"""What a selector is: it turns views into pseudo-labels and says which of them may be believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """Pseudo-labels and which of them to train on. Nothing in it carries a gradient.

    Attributes:
        labels: class ids ``(B, *S)``, int64, defined at every voxel.
        mask: bool ``(B, *S)``, true where the label is believed.
        weight: float ``(B, *S)``, how much a believed voxel counts; None where all count alike.
    """

    labels: Tensor
    mask: Tensor
    weight: Tensor | None = None


@runtime_checkable
class Selector(Protocol):
    """Any reliability policy, as a method sees it."""

    def select(self, views: Sequence[Tensor]) -> Selection:
        """Pseudo-labels from at least one view of probabilities ``(B, K, *S)`` of the same input."""
        ...
