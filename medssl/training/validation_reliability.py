"""Reliability over training: calibration and uncertainty quality at every validation."""

from ignite.engine import Engine, Events

from medssl.common.constants import IGNORE
from medssl.metrics import CalibrationError, MeanIoU, UncertaintyQuality, reliable_segmentation_score


class ValidationReliability:
    """Adds ``val_miou``, ``val_ece``, ``val_p_acc_cer``, ``val_p_unc_inacc`` and ``val_rss`` to a validation.

    Pooled over the voxels of all validation cases on the grid that the network sees (protocol
    ``principled``); with them the log holds accuracy and reliability over training, Figure 4 of Landgraf et
    al. 2025. The numbers of :class:`medssl.evaluation.CaseMetrics` are those of the files.

    Voxels of 255, which nobody labelled, do not count. The confusion matrix ``(K, K)`` of all cases, by
    labelled and predicted class, is left in ``engine.state.confusion``.

    Args:
        num_classes: classes ``K``.
        probabilities: key of the output that holds ``(K, *S)``.
        classes: key that holds the class ids ``(1, *S)``.
    """

    def __init__(self, num_classes: int, *, probabilities: str = "pred", classes: str = "label") -> None:
        self.num_classes, self.probabilities, self.classes = num_classes, probabilities, classes
        self.started(None)

    def attach(self, engine: Engine) -> None:
        """Measure the validations of this evaluator."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_completed)

    def started(self, _: Engine | None) -> None:
        """Forget an earlier validation."""
        self._iou = MeanIoU(self.num_classes, ignore_index=IGNORE)
        self._calibration = CalibrationError(ignore_index=IGNORE)
        self._quality = UncertaintyQuality(ignore_index=IGNORE)

    def iteration_completed(self, engine: Engine) -> None:
        """Add the cases of a batch."""
        for item in engine.state.output:
            # As a batch of one: an image as high as there are classes could be read as a batch otherwise.
            probs, labels = item[self.probabilities][None].cpu(), item[self.classes].cpu()
            for part in (self._iou, self._calibration, self._quality):
                part.update(probs, labels)

    def epoch_completed(self, engine: Engine) -> None:
        """Hand the numbers to the engine."""
        for part in (self._iou, self._calibration, self._quality):
            part.reduce()
        miou, ece, pair = self._iou.compute(), self._calibration.compute(), self._quality.compute()
        engine.state.confusion = self._iou.total("confusion")
        engine.state.metrics |= {
            "val_miou": miou,
            "val_ece": ece,
            "val_p_acc_cer": pair.p_accurate_given_certain,
            "val_p_unc_inacc": pair.p_uncertain_given_inaccurate,
            "val_rss": reliable_segmentation_score(miou, ece, *pair),
        }
