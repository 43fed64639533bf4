"""The supervised lower bound: the labelled images only."""

from torch import Tensor

from medssl.losses import cross_entropy, dice_loss, supervised_loss
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
        logits = self.network.deployed(batch.labeled_images)
        detached = logits.detach()
        return {
            "loss": supervised_loss(logits, batch.labels),
            "cross_entropy": cross_entropy(detached, batch.labels),
            "dice": dice_loss(detached.float().softmax(1), batch.labels),
        }
