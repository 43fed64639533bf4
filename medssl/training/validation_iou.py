"""The IoU that chooses the best checkpoint of image models: one number over all images, as published."""

from collections.abc import Sequence

from ignite.metrics import Metric
from monai.handlers import from_engine
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.metrics import MeanIoU


class ValidationIoU(Metric):
    """Mean IoU over classes, from one confusion matrix over all images, for ``key_val_metric``.

    Pixels of 255 do not count, and no class that is neither predicted nor labelled in any image. MONAI's
    ``MeanIoU`` averages over images; its ``ConfusionMatrixMetric`` knows no ignored pixels and no pooled IoU.

    Args:
        num_classes: classes ``K``.
        prediction: key of the output that holds logits or probabilities ``(K, *S)``.
        label: key that holds the class ids ``(1, *S)``.
    """

    def __init__(self, num_classes: int, *, prediction: str = "pred", label: str = "label") -> None:
        self.num_classes = num_classes
        super().__init__(output_transform=from_engine([prediction, label]))

    def reset(self) -> None:
        """Forget an earlier validation."""
        self._iou = MeanIoU(self.num_classes, ignore_index=IGNORE)

    def update(self, output: Sequence[Tensor]) -> None:
        """Add images: predictions ``(B, K, *S)`` and class ids ``(B, 1, *S)``."""
        predictions, labels = output
        self._iou.update(predictions.cpu(), labels[:, 0].cpu())

    def compute(self) -> float:
        """The mean over the images of all processes; NaN where there was none."""
        self._iou.reduce()
        return self._iou.compute()
