"""The supervised lower bound: the labelled images only."""

import torch
from torch import Tensor

from medssl.losses import cross_entropy, dice_loss
from medssl.methods.base import Batch, Method
from medssl.networks import Network


class Supervised(Method):
    """Mean of cross-entropy and soft Dice on the labelled images; the unlabelled ones are not looked at.

    Args:
        network: whose deployed path is trained.
    """

    def __init__(self, network: Network) -> None:
        """Keep the network."""
        super().__init__()
        self.network = network

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Entries ``loss``, ``cross_entropy`` and ``dice``."""
        logits = self.network.deployed(batch.labeled_images)
        ce = cross_entropy(logits, batch.labels)
        dice = dice_loss(torch.softmax(logits.float(), 1), batch.labels)
        return {"loss": (ce + dice) / 2, "cross_entropy": ce.detach(), "dice": dice.detach()}
