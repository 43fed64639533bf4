"""What strong views are taught: the weak view's pseudo-labels, pasted as the images are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medssl.losses import Over, positive_loss
from medssl.methods.base import Batch
from medssl.methods.mixing import paste
from medssl.networks import Network, Output
from medssl.reliability import Selection, Selector


@dataclass(frozen=True)
class Unlabeled:
    """Unlabelled images of a batch.

    Attributes:
        views: ``(U, C, *S)`` by name.
        valid: bool ``(U, *S)``, image and not padding; None where all is image.
    """

    views: Mapping[str, Tensor]
    valid: Tensor | None

    @classmethod
    def of(cls, batch: Batch, rows: slice) -> "Unlabeled":
        """Those rows of a batch."""
        views = {name: images[rows] for name, images in batch.unlabeled.items()}
        return cls(views, None if batch.valid is None else batch.valid[rows])

    def flipped(self) -> "Unlabeled":
        """The same images, the last first."""
        views = {name: images.flip(0) for name, images in self.views.items()}
        return Unlabeled(views, None if self.valid is None else self.valid.flip(0))


@dataclass(frozen=True)
class Target:
    """What a view of unlabelled images is taught. Nothing in it carries a gradient.

    Attributes:
        selection: pseudo-labels and which of them are believed; what a selector rules out is not taught.
        valid: as in :class:`Unlabeled`.
        context: the coarse embeddings ``(U, C', *R)`` of the weak view.
    """

    selection: Selection
    valid: Tensor | None
    context: Tensor | None = None

    def flipped(self) -> "Target":
        """That of the same images, the last first."""

        def turned(entry: Tensor | None) -> Tensor | None:
            return None if entry is None else entry.flip(0)

        chosen = self.selection
        selection = Selection(chosen.labels.flip(0), chosen.mask.flip(0), turned(chosen.weight))
        return Target(selection, turned(self.valid), turned(self.context))

    def with_pasted(self, other: "Target", boxes: Tensor) -> "Target":
        """That of the images into which the other's are pasted, box by box; without context."""

        def mixed(inside: Tensor | None, outside: Tensor | None) -> Tensor | None:
            return None if inside is None or outside is None else paste(boxes, inside, outside)

        theirs, ours = other.selection, self.selection
        pasted = Selection(
            paste(boxes, theirs.labels, ours.labels),
            paste(boxes, theirs.mask, ours.mask),
            mixed(theirs.weight, ours.weight),
        )
        return Target(pasted, mixed(other.valid, self.valid))

    def loss(self, logits: Tensor) -> Tensor:
        """Cross-entropy with the believed pseudo-labels, over the number of **all** valid voxels.

        So it fades with the selection; a handful of believed voxels does not weigh as much as an image.

        Args:
            logits: ``(U, K, *S)``.
        """
        chosen = self.selection
        over: Over | Tensor = "all" if self.valid is None else self.valid
        return positive_loss(logits, chosen.labels, chosen.mask, chosen.weight, over=over)

    def selected(self) -> Tensor:
        """Share of the valid voxels whose pseudo-label is believed."""
        mask = self.selection.mask
        return mask.sum() / (mask.numel() if self.valid is None else self.valid.sum().clamp(min=1))


def rows_of(output: Output, rows: slice, *, detached: bool = False) -> Output:
    """What a network gave for those images."""

    def cut(maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(entry[rows].detach() if detached else entry[rows] for entry in maps)

    return replace(
        output, logits=cut(output.logits), features=cut(output.features), context=cut(output.context)
    )


@torch.no_grad()
def evaluated(network: Network, images: Tensor) -> Output:
    """What a network gives in evaluation mode, without gradient; its mode is put back."""
    training = network.training
    network.eval()
    try:
        output: Output = network(images)
    finally:
        network.train(training)
    return output


def views_for(
    selector: Selector, outputs: Sequence[Output]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
    """Probabilities of the first decoder, and the embeddings that the selector asks for, if there are."""
    views = tuple(output.logits[0].float().softmax(1) for output in outputs)
    maps = [getattr(output, selector.features_from) for output in outputs]
    features = tuple(entry[0].detach() for entry in maps if entry)
    return views, features if len(features) == len(views) else None
