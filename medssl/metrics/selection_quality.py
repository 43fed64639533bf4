"""How good a selection of pseudo-labels is, judged with labels that training never sees."""

import math
from dataclasses import dataclass

import torch
from scipy.stats import norm
from torch import Tensor

from medssl.common.constants import IGNORE


@dataclass(frozen=True)
class SelectionQuality:
    """A selection of pseudo-labels against the truth; NaN where a denominator is 0.

    Attributes:
        tpr: share of the right pseudo-labels that is selected; also called recall or sensitivity.
        fpr: share of the wrong ones that is selected.
        ppv: share of the selected ones that is right (precision).
        npv: share of those that are not selected that is wrong.
        coverage: share of all pixels that is selected.
        pixels: number of pixels that were judged.
    """

    tpr: float
    fpr: float
    ppv: float
    npv: float
    coverage: float
    pixels: int


class SelectionCounts:
    """Counts of selected and right pseudo-labels, added up over batches.

    Args:
        ignore_index: class id of pixels that are not judged.
    """

    def __init__(self, *, ignore_index: int | None = IGNORE) -> None:
        self.ignore_index = ignore_index
        self.counts = torch.zeros(2, 2, dtype=torch.int64)  # selected, right

    def update(self, pseudo_labels: Tensor, selected: Tensor, truth: Tensor) -> None:
        """Add a batch.

        Args:
            pseudo_labels: class ids ``(B, *S)``.
            selected: bool ``(B, *S)``.
            truth: class ids ``(B, *S)``.

        Raises:
            ValueError: shapes that differ, or a selection that is not bool.
        """
        _check_selection(pseudo_labels, selected, truth)
        judged = torch.ones_like(selected) if self.ignore_index is None else truth != self.ignore_index
        right = (pseudo_labels == truth)[judged]
        index = selected[judged].long() * 2 + right.long()
        self.counts += torch.bincount(index.flatten().cpu(), minlength=4).view(2, 2)

    def compute(self) -> SelectionQuality:
        """All shares."""
        (left_wrong, left_right), (wrong, right) = self.counts.tolist()
        total = wrong + right + left_wrong + left_right
        return SelectionQuality(
            tpr=_share(right, right + left_right),
            fpr=_share(wrong, wrong + left_wrong),
            ppv=_share(right, right + wrong),
            npv=_share(left_wrong, left_wrong + left_right),
            coverage=_share(wrong + right, total),
            pixels=total,
        )


class ClassSelectionCounts:
    """As :class:`SelectionCounts`, and class by class: what selecting does to precision and recall.

    For class ``k`` the selected voxels are judged as a classification "is ``k``" or "is not": that is how
    TCSeg's Figure 4 sets PPV against NPV with recall as the third number.

    Args:
        num_classes: classes ``K``.
        ignore_index: class id of voxels that are not judged.
    """

    def __init__(self, num_classes: int, *, ignore_index: int | None = IGNORE) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index
        # selected, pseudo-label, truth
        self.counts = torch.zeros(2, num_classes, num_classes, dtype=torch.int64)

    def update(self, pseudo_labels: Tensor, selected: Tensor, truth: Tensor) -> None:
        """Add a batch: see :meth:`SelectionCounts.update`."""
        _check_selection(pseudo_labels, selected, truth)
        judged = torch.ones_like(selected) if self.ignore_index is None else truth != self.ignore_index
        labels, known = pseudo_labels[judged].long(), truth[judged].long()
        index = (selected[judged].long() * self.num_classes + labels) * self.num_classes + known
        counts = torch.bincount(index.flatten().cpu(), minlength=self.counts.numel())
        self.counts += counts.view_as(self.counts)

    def compute(self) -> SelectionQuality:
        """Of the selection as a whole: right or wrong against selected or not."""
        overall = SelectionCounts()
        right = self.counts.diagonal(dim1=1, dim2=2).sum(1)
        overall.counts = torch.stack([self.counts.sum((1, 2)) - right, right], dim=1)
        return overall.compute()

    def compute_class(self, label: int, *, everything: bool = False) -> SelectionQuality:
        """Of one class.

        ``tpr`` (recall) is the share of all voxels truly of the class that are selected and labelled so,
        ``fpr`` the share of all others that are; ``ppv`` and ``npv`` judge the selected voxels that are
        labelled so, and those that are not; ``coverage`` is the share of voxels that is selected and labelled
        so.

        Args:
            label: the class.
            everything: judge as if every voxel were selected.
        """
        chosen = self.counts.sum(0) if everything else self.counts[1]
        truth = self.counts.sum((0, 1))
        positive, true_positive = int(chosen[label].sum()), int(chosen[label, label])
        total, true = int(truth.sum()), int(truth[label])
        negative = int(chosen.sum()) - positive
        missed = int(chosen[:, label].sum()) - true_positive
        return SelectionQuality(
            tpr=_share(true_positive, true),
            fpr=_share(positive - true_positive, total - true),
            ppv=_share(true_positive, positive),
            npv=_share(negative - missed, negative),
            coverage=_share(positive, total),
            pixels=total,
        )


def selection_quality(
    pseudo_labels: Tensor, selected: Tensor, truth: Tensor, *, ignore_index: int | None = IGNORE
) -> SelectionQuality:
    """TPR, FPR, PPV and NPV of one selection: see :class:`SelectionCounts`."""
    counts = SelectionCounts(ignore_index=ignore_index)
    counts.update(pseudo_labels, selected, truth)
    return counts.compute()


def false_positive_rate_at(
    tpr: float, *, gap: float, positive_std: float = 1.0, negative_std: float = 1.0
) -> float:
    """False positive rate at a fixed true positive rate, of scores that are normal in both groups.

    AgScore's theory (Lemma 4.3 of "Beyond Confidence"): with right pseudo-labels scored ``N(m + gap, s+)``
    and wrong ones ``N(m, s-)``, the threshold that selects a share ``tpr`` of the right ones selects
    ``Phi((s+ Phi^-1(tpr) - gap) / s-)`` of the wrong ones, which falls as the gap grows.

    Args:
        tpr: in (0, 1).
        gap: distance of the two means.
        positive_std: deviation of the right ones' scores, above 0.
        negative_std: of the wrong ones'.

    Raises:
        ValueError: an argument outside its range.
    """
    if not 0 < tpr < 1:
        raise ValueError(f"tpr must lie in (0, 1), got {tpr}")
    if not (positive_std > 0 and negative_std > 0):
        raise ValueError(f"deviations must be above 0, got {positive_std} and {negative_std}")
    return float(norm.cdf((positive_std * norm.ppf(tpr) - gap) / negative_std))


def fpr_at_tpr(scores: Tensor, right: Tensor, tpr: float) -> float:
    """False positive rate of the highest threshold that selects a share ``tpr`` of the right labels.

    What :func:`false_positive_rate_at` predicts of normal scores, measured. Selected is what scores at least
    the threshold; the rate is a point of the ROC curve, not interpolated between two.

    Args:
        scores: of any shape; higher means more reliable.
        right: bool, of the shape of ``scores``: whether the pseudo-label is right. Leave ignored pixels out.
        tpr: in (0, 1].

    Returns:
        In [0, 1]; NaN where there is no right label, or no wrong one.

    Raises:
        ValueError: shapes that differ, ``right`` that is not bool, a score that is NaN, or ``tpr`` outside
            its range.
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr must lie in (0, 1], got {tpr}")
    if right.shape != scores.shape or right.dtype is not torch.bool:
        raise ValueError(f"right must be bool {tuple(scores.shape)}, got {right.dtype} {tuple(right.shape)}")
    of_right, of_wrong = scores[right], scores[~right]
    if not len(of_right) or not len(of_wrong):
        return float("nan")
    if scores.isnan().any():
        raise ValueError("scores must be numbers, got NaN")
    # A share such as 0.07 of 100 is 7 and not, by rounding, 8.
    needed = max(1, math.ceil(tpr * len(of_right) - 1e-9))
    threshold = of_right.sort(descending=True).values[needed - 1]
    return float((of_wrong >= threshold).double().mean())


def _check_selection(pseudo_labels: Tensor, selected: Tensor, truth: Tensor) -> None:
    if pseudo_labels.shape != truth.shape or selected.shape != truth.shape:
        shapes = [tuple(t.shape) for t in (pseudo_labels, selected, truth)]
        raise ValueError(f"pseudo_labels, selected and truth must share one shape, got {shapes}")
    if selected.dtype is not torch.bool:
        raise ValueError(f"selected must be bool, got {selected.dtype}")


def _share(part: int, total: int) -> float:
    return part / total if total else float("nan")
