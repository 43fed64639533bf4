"""The supervised lower bound: the labelled images only."""

from torch import Tensor

from medssl.losses import supervised_terms
from medssl.methods.base import Batch, Method
from medssl.networks import Network


class Supervised(Method):
    """Mean of cross-entropy and soft Dice on the labelled images; the unlabelled ones are not looked at.

    Args:
        network: whose deployed path is trained.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Entries ``loss``, ``cross_entropy`` and ``dice``."""
        cross_entropy, dice = supervised_terms(self.network.deployed(batch.labeled_images), batch.labels)
        loss = (cross_entropy + dice) / 2
        return {"loss": loss, "cross_entropy": cross_entropy.detach(), "dice": dice.detach()}
