"""How often sets of classes hold the true one, and how right the labels are that are made of them."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from medssl.common.constants import IGNORE

Ratio = Tensor
"""float64 ``(K,)``, of each class; NaN where there is nothing to divide by."""


@dataclass(frozen=True)
class CoverageCounts:
    """Counts of labelled pixels, class by class; those of several images are added with ``+``.

    All are int64 ``(K,)``. Every ratio is a property of two forms: of each class, and ``overall_...`` of all
    pixels together, in which frequent classes weigh more.

    Attributes:
        reference: pixels whose reference is the class.
        covered: those of them whose set holds it.
        set_sizes: sum of the sizes of their sets.
        kept: those of them that get a label, right or wrong.
        labeled: pixels that get the label of the class.
        right: those of them whose reference it is.

    >>> sets = torch.tensor([[[1, 1, 0], [0, 1, 0]]]).bool()
    >>> counts = coverage_counts(sets, torch.tensor([[0, 1, 255]]), torch.tensor([[0, 0, 1]]))
    >>> counts.coverage
    tensor([1., 0.], dtype=torch.float64)
    >>> counts.overall_set_size, counts.overall_precision
    (1.0, 0.5)
    """

    reference: Tensor
    covered: Tensor
    set_sizes: Tensor
    kept: Tensor
    labeled: Tensor
    right: Tensor

    def __add__(self, other: "CoverageCounts") -> "CoverageCounts":
        """The counts of both."""
        if len(self.reference) != len(other.reference):
            raise ValueError(f"{len(self.reference)} classes, and {len(other.reference)}")
        return CoverageCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def coverage(self) -> Ratio:
        """Share of the pixels of a class whose set holds it."""
        return self.covered / self.reference.double()

    @property
    def set_size(self) -> Ratio:
        """Mean size of the sets of a class's pixels."""
        return self.set_sizes / self.reference.double()

    @property
    def kept_share(self) -> Ratio:
        """Share of the pixels of a class that get a label."""
        return self.kept / self.reference.double()

    @property
    def precision(self) -> Ratio:
        """Share of the pixels labelled as a class that are of it."""
        return self.right / self.labeled.double()

    @property
    def recall(self) -> Ratio:
        """Share of the pixels of a class that are labelled so."""
        return self.right / self.reference.double()

    @property
    def overall_coverage(self) -> float:
        """Share of all pixels whose set holds the reference."""
        return float(self.covered.sum() / self.reference.sum().double())

    @property
    def overall_set_size(self) -> float:
        """Mean size of all sets."""
        return float(self.set_sizes.sum() / self.reference.sum().double())

    @property
    def overall_kept_share(self) -> float:
        """Share of all pixels that get a label."""
        return float(self.kept.sum() / self.reference.sum().double())

    @property
    def overall_precision(self) -> float:
        """Share of the labels that are right."""
        return float(self.right.sum() / self.labeled.sum().double())

    @property
    def overall_recall(self) -> float:
        """Share of all pixels that get the right label."""
        return float(self.right.sum() / self.reference.sum().double())


def coverage_counts(
    sets: Tensor, labels: Tensor, truth: Tensor, *, ignore_index: int = IGNORE
) -> CoverageCounts:
    """The counts of a batch.

    Args:
        sets: bool ``(B, K, *S)``, the classes that a pixel may be of.
        labels: int ``(B, *S)``, what is made of them; ``ignore_index`` where there is no label.
        truth: int ``(B, *S)``; pixels of ``ignore_index`` do not count.
        ignore_index: see above.

    Raises:
        ValueError: shapes that do not belong together, sets that are not bool, or ids that are no class.
    """
    if sets.dtype is not torch.bool or sets.ndim < 2:
        raise ValueError(f"sets must be bool (B, K, *S), got {sets.dtype} {tuple(sets.shape)}")
    shape, classes = (sets.shape[0], *sets.shape[2:]), sets.shape[1]
    if labels.shape != shape or truth.shape != shape:
        got = f"{tuple(labels.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"labels and truth must be {tuple(shape)}, got {got}")
    judged = truth != ignore_index
    kept = judged & (labels != ignore_index)
    reference, given = truth.long().where(judged, 0), labels.long().where(kept, 0)
    for name, ids in (("truth", reference), ("labels", given)):
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < classes:
            raise ValueError(f"{name} must be class ids in 0 to {classes - 1}, or {ignore_index}")

    def count(ids: Tensor, weights: Tensor) -> Tensor:
        # Weights of float64 count whole numbers exactly, and no pixel has to be copied to be left out.
        return torch.bincount(ids.flatten(), weights.flatten().double(), minlength=classes).long().cpu()

    return CoverageCounts(
        reference=count(reference, judged),
        covered=count(reference, judged & sets.gather(1, reference.unsqueeze(1))[:, 0]),
        set_sizes=count(reference, judged * sets.sum(1)),
        kept=count(reference, kept),
        labeled=count(given, kept),
        right=count(given, kept & (given == reference)),
    )
