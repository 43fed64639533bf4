"""The Dice that chooses the best checkpoint, by the rules that the evaluation scores with."""

from typing import Any

import torch
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric
from torch import Tensor

from medssl.metrics import dice


class CaseDice(CumulativeIterationMetric):
    """Dice of every foreground class in every case, as :class:`medssl.evaluation.CaseMetrics` scores it.

    MONAI's ``DiceMetric`` leaves out classes that a reference lacks unless ``ignore_empty`` is off, which
    ``MeanDice`` does not offer, and knows no ignored voxels; one definition
    (:func:`medssl.metrics.dice`) here and there keeps the two numbers equal.

    Called with predictions ``(K, *S)``, of which the largest channel is the class, and class ids
    ``(1, *S)``, one of each a case; :meth:`aggregate` gives the mean over cases and classes.

    Args:
        num_classes: classes ``K``, background included.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        if y is None:
            raise ValueError("there are no reference labels")
        cases = zip(y_pred.argmax(1), y[:, 0], strict=True)
        return torch.tensor(
            [[dice(pred, ref, label) for label in range(1, self.num_classes)] for pred, ref in cases]
        )

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """Mean over classes and cases; NaN where there was none."""
        values = self.get_buffer()
        return torch.tensor(torch.nan) if values is None else values.mean()


class ValidationDice(IgniteMetricHandler):
    """Mean Dice over cases and foreground classes, for ``key_val_metric``.

    A class that both lack counts 1, one that only one of them has 0 (:data:`medssl.metrics.EMPTY_POLICY`);
    in voxels of 255 predictions do not count. On the same predictions it is the evaluation's ``mean_dice``.

    Args:
        num_classes: classes ``K``, background included.
        prediction: key of the output that holds logits or probabilities ``(K, *S)``.
        label: key that holds the class ids ``(1, *S)``.
    """

    def __init__(self, num_classes: int, *, prediction: str = "pred", label: str = "label") -> None:
        super().__init__(
            metric_fn=CaseDice(num_classes),
            output_transform=from_engine([prediction, label]),
            save_details=False,
        )
