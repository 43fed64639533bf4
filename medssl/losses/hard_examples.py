"""Cross-entropy over the hardest pixels (OHEM)."""

import torch
from torch import Tensor, nn

from medssl.common.constants import IGNORE
from medssl.losses.segmentation import cross_entropy


class OhemCrossEntropy(nn.Module):
    """Online hard example mining (Shrivastava et al. 2016), in the form of the segmentation literature.

    Mean cross-entropy over the pixels whose label has a probability of at most ``threshold``, and over the
    ``min_kept`` least probable ones where these are more; both over the whole batch of one process. UniMatch
    uses it for the labelled images of Cityscapes. torch and MONAI have none.

    Args:
        threshold: probability in (0, 1].
        min_kept: pixels, at least 1.

    Raises:
        ValueError: where an argument is outside its range.
    """

    def __init__(self, threshold: float = 0.7, min_kept: int = 200_000) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], got {threshold}")
        if min_kept < 1:
            raise ValueError(f"min_kept must be at least 1, got {min_kept}")
        self.threshold, self.min_kept = threshold, min_kept

    def extra_repr(self) -> str:
        """Threshold and number of pixels."""
        return f"threshold={self.threshold}, min_kept={self.min_kept}"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss, a float32 scalar; 0 where every pixel is ignored.

        Args:
            logits: ``(B, K, *S)``.
            labels: ``(B, *S)`` class ids, 255 where ignored.
        """
        labels = labels.long()
        with torch.no_grad():
            ignored = labels == IGNORE
            classes = labels.masked_fill(ignored, 0).unsqueeze(1)
            probability = logits.float().softmax(1).gather(1, classes).squeeze(1)
            # Ignored pixels come last, so that fewer valid pixels than min_kept are all kept.
            probability = probability.masked_fill(ignored, 1)
            last_kept = probability.flatten().kthvalue(min(self.min_kept, probability.numel())).values
            hard = probability <= last_kept.clamp(min=self.threshold)
        return cross_entropy(logits, labels.masked_fill(~hard, IGNORE))
