"""The supervised lower bound: the labelled images only."""

import torch
from torch import Tensor, nn

from medssl.losses import cross_entropy, dice_loss
from medssl.methods.base import Batch, Method


class Supervised(Method):
    """Mean of cross-entropy and soft Dice on the labelled images; the unlabelled ones are not looked at.

    Args:
        network: gives logits ``(B, K, *S)``.
    """

    def __init__(self, network: nn.Module) -> None:
        """Keep the network."""
        super().__init__()
        self.network = network

    def training_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Entries ``loss``, ``cross_entropy`` and ``dice``."""
        logits = self.network(batch.labeled_images)
        ce = cross_entropy(logits, batch.labels)
        dice = dice_loss(torch.softmax(logits.float(), 1), batch.labels)
        return {"loss": (ce + dice) / 2, "cross_entropy": ce.detach(), "dice": dice.detach()}

    def predict(self, images: Tensor) -> Tensor:
        """Logits ``(B, K, *S)``."""
        logits: Tensor = self.network(images)
        return logits
