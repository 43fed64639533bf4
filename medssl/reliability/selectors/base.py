"""What a selector is: it turns views into pseudo-labels and says which of them may be believed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

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
        statistics: scalars that say how the selection came about, by name, for analysis.
    """

    labels: Tensor
    mask: Tensor
    weight: Tensor | None = None
    ruled_out: Tensor | None = None
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


class Selector(nn.Module, ABC):
    """Any reliability policy, as a method sees it.

    What a selector has fitted, and the agents that it keeps, are its buffers: a method holds it as a module,
    so they are saved, resumed and moved to the device with the method. They are changed in place, in training
    mode alone, and keep their shape. The optimiser does not train a selector.

    Attributes:
        min_views: how many views of the same input it needs to say anything; a method that has fewer takes
            its teacher's beside the student's.
        wants_valid: whether :meth:`select` takes ``valid=``, bool ``(B, *S)``, true where there is image and
            not padding.
        wants_labeled: whether a method hands over what it predicts of labelled images (:meth:`observe`).
        features_from: which embeddings it looks at, those before the classifier or the coarsest ones
            (:class:`medssl.networks.Output`).
    """

    min_views: int = 1
    wants_valid: bool = False
    wants_labeled: bool = False
    features_from: Literal["features", "context"] = "features"

    @abstractmethod
    def select(self, views: Sequence[Tensor], *, features: Sequence[Tensor] | None = None) -> Selection:
        """Pseudo-labels and the voxels that may be believed; without gradient.

        Args:
            views: at least one tensor of probabilities ``(B, K, *S)`` of the same input.
            features: decoder embeddings ``(B, C, *T)``, one tensor a view, for selectors that look at
                them, on the views' grid or a coarser one; None where there are none.
        """

    def observe(self, views: Sequence[Tensor], labels: Tensor) -> None:
        """Look at the labelled images of a training step; by default nothing is done.

        A method calls it in every step where :attr:`wants_labeled`, before the step's own choice.

        Args:
            views: probabilities ``(L, K, *S)`` of the labelled images, without gradient, by those who judge
                the unlabelled ones.
            labels: class ids ``(L, *S)``, 255 where ignored.
        """


def choose(
    selector: Selector,
    views: Sequence[Tensor],
    *,
    features: Sequence[Tensor] | None = None,
    valid: Tensor | None = None,
) -> Selection:
    """What a selector believes of pixels that are image; it believes none that is padding.

    Args:
        selector: the policy.
        views: as for :meth:`Selector.select`.
        features: likewise.
        valid: bool ``(B, *S)``, true where there is image and not padding; None where there is no padding.
    """
    if valid is None:
        return selector.select(views, features=features)
    options = {"valid": valid} if selector.wants_valid else {}
    selection = selector.select(views, features=features, **options)
    ruled_out = selection.ruled_out
    return replace(
        selection,
        mask=selection.mask & valid,
        ruled_out=None if ruled_out is None else ruled_out & valid.unsqueeze(1),
    )
