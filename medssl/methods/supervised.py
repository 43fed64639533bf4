"""The supervised lower bound: the labelled images only."""

from collections.abc import Callable

from torch import Tensor

from medssl.losses import supervised_terms
from medssl.methods.base import Batch, Method
from medssl.networks import Network


class Supervised(Method):
    """One loss on the labelled images; the unlabelled ones are not looked at.

    Args:
        network: whose deployed path is trained.
        criterion: loss of logits and labels; None for the mean of cross-entropy and soft Dice.
    """

    def __init__(
        self, network: Network, *, criterion: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.network, self.criterion = network, criterion

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Entries ``loss``, and ``cross_entropy`` and ``dice`` where it is their mean."""
        if self.criterion is not None:
            return {"loss": self.criterion(self.network.deployed(batch.labeled_images), batch.labels)}
        cross_entropy, dice = supervised_terms(self.network.deployed(batch.labeled_images), batch.labels)
        loss = (cross_entropy + dice) / 2
        return {"loss": loss, "cross_entropy": cross_entropy.detach(), "dice": dice.detach()}
