"""Sets of classes instead of confidence: believe a pixel where one class alone may be true."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError, unknown_name
from medssl.reliability.conformal.scores import nonconformity
from medssl.reliability.conformal.sets import labels_of_sets
from medssl.reliability.measures import mean_view
from medssl.reliability.selectors.base import Selection, Selector

Rule = Literal["singleton", "conformalsam"]

BINS = 2048
DECADES = 7
"""Scores are counted in bins of equal width in their logarithm, down to 1e-7: those of a trained network
crowd near 0, where the quantile lies."""


class ConformalSelector(Selector):
    """Believe a pixel where the conformal set of the mean view holds one class alone, in 2D and 3D.

    The set of a pixel holds every class of which ``1 - P`` is at most the ``1 - alpha`` quantile of
    ``1 - P(y)`` over labelled pixels ``y``: the engine of ConformalSAM (ICCV 2025), with the student in the
    place of the foundation model. The quantile follows the training: a method hands over what it predicts of
    the labelled images of every batch (:meth:`observe`), and older batches are forgotten by and by. Until
    ``min_scores`` pixels were observed nothing is believed.

    What is not promised: coverage. The labelled images are those that the network is trained on, so
    their scores are smaller than those of unlabelled images, the quantile is too small, and sets miss the
    true class more often than ``alpha`` says. What that does: below a quantile ``q`` of one half a set holds
    one class where its probability is at least ``1 - q``, and none elsewhere, so that one quantile for all
    classes is a confidence threshold of ``1 - q`` that rises as the labelled images are fitted: strict where
    a fixed one grows generous. Where ``q`` is above one half (early, or for a class of ``num_classes`` that
    is often missed), the runner-up counts as well. For coverage that holds, keep labelled images apart
    (:class:`~medssl.reliability.ConformalCalibrator`).

    What it keeps: ``histogram``, ``(Q, 2048)``, the scores observed, each batch weighing ``forgetting`` times
    what the one after it does; changed by :meth:`observe` in training mode alone.

    Args:
        alpha: accepted risk, in (0, 1).
        rule: ``"singleton"`` believes sets of one class. ``"conformalsam"`` believes every set that is not
            empty, and labels it as ConformalSAM does: with its most probable class, with ``background`` where
            that is alone.
        background: class id that gives way to all others (``"conformalsam"`` alone); None where there is
            none such.
        num_classes: one quantile for each of so many classes, of which one with fewer than ``min_scores``
            scores takes that of all; None for one of all classes.
        forgetting: in (0, 1].
        min_scores: observed pixels, by the weight that they still have.

    Raises:
        InputError: an unknown rule, or a number out of range.
    """

    wants_labeled = True
    histogram: Tensor

    def __init__(
        self,
        alpha: float = 0.05,
        *,
        rule: Rule = "singleton",
        background: int | None = 0,
        num_classes: int | None = None,
        forgetting: float = 0.99,
        min_scores: int = 100,
    ) -> None:
        super().__init__()
        if rule not in get_args(Rule):
            raise unknown_name("rule", str(rule), get_args(Rule))
        for name, value, fits, remedy in (
            ("alpha", alpha, 0 < alpha < 1, "give a risk between 0 and 1, such as 0.05"),
            ("num_classes", num_classes, num_classes is None or num_classes >= 1, "give at least 1, or none"),
            ("forgetting", forgetting, 0 < forgetting <= 1, "give a number above 0 and at most 1"),
            ("min_scores", min_scores, min_scores >= 1, "give at least 1"),
        ):
            if not fits:
                raise InputError(f"{name}={value}", "out of range", remedy)
        self.alpha, self.rule, self.background = alpha, rule, background
        self.num_classes, self.forgetting, self.min_scores = num_classes, forgetting, min_scores
        self.register_buffer("histogram", torch.zeros(num_classes or 1, BINS, dtype=torch.float32))

    def extra_repr(self) -> str:
        """The settings."""
        by_class = "" if self.num_classes is None else f", num_classes={self.num_classes}"
        return f"{self.alpha}, {self.rule!r}{by_class}, forgetting={self.forgetting}"

    @torch.no_grad()
    def observe(self, views: Sequence[Tensor], labels: Tensor) -> None:
        """Count the scores of the reference classes of a batch; nothing in evaluation mode.

        Args:
            views: as for :meth:`select`, of labelled images.
            labels: class ids ``(B, *S)``, 255 where ignored.

        Raises:
            ValueError: shapes that do not belong together, or another number of classes than
                ``num_classes``.
        """
        if not self.training:
            return
        mean = self._mean(views)
        if labels.shape != (len(mean), *mean.shape[2:]):
            raise ValueError(f"labels must be {(len(mean), *mean.shape[2:])}, got {tuple(labels.shape)}")
        known = labels != IGNORE
        ids = labels.long().where(known, 0)
        scores = nonconformity(mean.gather(1, ids.unsqueeze(1))[:, 0])
        places = _bins(scores)
        if self.num_classes is not None:
            places = places + ids * BINS
        fresh = torch.zeros(self.histogram.numel(), dtype=torch.int64, device=places.device)
        fresh.scatter_add_(0, places.flatten(), known.flatten().long())
        self.histogram.mul_(self.forgetting).add_(fresh.view_as(self.histogram))

    def quantiles(self) -> Tensor:
        """The score up to which a class is in the set, ``(Q,)``: at most a bin above the quantile.

        1 where the scores are too few for the level.
        """
        counts = self.histogram
        pooled = counts.sum(0, keepdim=True)
        few = counts.sum(1, keepdim=True) < self.min_scores
        counts = torch.where(few, pooled, counts)
        on_mps = counts.device.type == "mps"  # which has no float64
        # From the smallest scores, which are in the last bins.
        from_smallest = counts.flip(1).cumsum(1, dtype=torch.float32 if on_mps else torch.float64)
        rank = (from_smallest[:, -1:] + 1) * (1 - self.alpha)
        reached = torch.searchsorted(from_smallest, rank - 1e-6)[:, 0]
        edges = 10 ** (-DECADES * (BINS - 1 - reached).clamp_min(0) / BINS)
        return torch.where(reached < BINS, edges, 1.0)

    @torch.no_grad()
    def select(self, views: Sequence[Tensor], *, features: Sequence[Tensor] | None = None) -> Selection:
        """Pseudo-labels of the sets of the mean view; features do not count.

        Where a pixel is not believed, its label is the most probable class. Ruled out are the classes outside
        of a set that is not empty.

        Args:
            views: at least one tensor of probabilities ``(B, K, *S)`` of the same input.
            features: not looked at.

        Returns:
            A selection with the statistics ``quantile`` (mean over classes) and ``set_size`` (mean).

        Raises:
            ValueError: another number of classes than ``num_classes``.
        """
        mean = self._mean(views)
        ready = self.histogram.sum() >= self.min_scores
        quantiles = self.quantiles()
        sets = nonconformity(mean) <= quantiles.view(1, -1, *[1] * (mean.ndim - 2))
        sizes = sets.sum(1)
        background = self.background if self.rule == "conformalsam" else None
        labels = labels_of_sets(sets, mean, background=background)
        mask = (sizes == 1 if self.rule == "singleton" else sizes > 0) & ready
        return Selection(
            torch.where(mask, labels, mean.max(1).indices),
            mask,
            ruled_out=~sets & (sizes > 0).unsqueeze(1) & ready,
            statistics={"quantile": quantiles.mean(), "set_size": sizes.float().mean()},
        )

    def _mean(self, views: Sequence[Tensor]) -> Tensor:
        mean = mean_view(views)
        if self.num_classes not in (None, mean.shape[1]):
            raise ValueError(f"views must have num_classes={self.num_classes}, got {mean.shape[1]}")
        return mean


def _bins(scores: Tensor) -> Tensor:
    """The bin of each score, int64; the largest score is in the first."""
    decades = -scores.clamp_min(10.0**-DECADES).log10()
    return (decades * (BINS / DECADES)).floor().clamp(0, BINS - 1).long()
