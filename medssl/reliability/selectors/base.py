"""What a selector is: it turns views into pseudo-labels and says which of them may be believed."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Selection:
    """Pseudo-labels and which of them to train on. Nothing in it carries a gradient.

    Attributes:
        labels: class ids ``(B, *S)``, int64, defined at every voxel.
        mask: bool ``(B, *S)``, true where the label is believed.
        weight: float ``(B, *S)``, how much a believed voxel counts; None where all count alike.
        ruled_out: bool ``(B, K, *S)``, true where a voxel is certainly not of that class; None where the
            selector rules nothing out.
    """

    labels: Tensor
    mask: Tensor
    weight: Tensor | None = None
    ruled_out: Tensor | None = None


class Selector(nn.Module, ABC):
    """Any reliability policy, as a method sees it.

    What a selector has fitted, and the agents that it keeps, are its buffers: a method holds it as a module,
    so they are saved, resumed and moved to the device with the method. They are changed in place, in training
    mode alone, and keep their shape. The optimiser does not train a selector.
    """

    @abstractmethod
    def select(self, views: Sequence[Tensor], *, features: Sequence[Tensor] | None = None) -> Selection:
        """Pseudo-labels and the voxels that may be believed; without gradient.

        Args:
            views: at least one tensor of probabilities ``(B, K, *S)`` of the same input.
            features: decoder embeddings ``(B, C, *S)``, one tensor a view, for selectors that look at
                them; None where there are none.
        """
