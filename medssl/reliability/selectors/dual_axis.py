"""Two axes of reliability: how confident the views are together, and how far they agree (TCSeg)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor

from medssl.common.errors import unknown_name
from medssl.reliability.grids import on_grid
from medssl.reliability.measures import Norm, check_norm, disagreement, mean_view
from medssl.reliability.prototypes import class_prototypes, prototype_affinity
from medssl.reliability.selectors.base import Selection, Selector

Pair = tuple[Tensor, Tensor]
Affinities = Literal["predicted", "all"]


@dataclass(frozen=True)
class DualAxisReliability:
    """Where pseudo-labels may be believed. Nothing in it carries a gradient.

    Attributes:
        confidence: ``(B, *S)``, eq. 6.
        uncertainty: ``(B, *S)``, the largest disagreement of all pairs, each in units of its own
            tolerance, so that 1 is the limit; 0 where no pair was given.
        confident: bool ``(B, *S)``.
        certain: bool ``(B, *S)``.
        negative: bool ``(B, K, *S)``, true where a voxel is certainly not of that class.
    """

    confidence: Tensor
    uncertainty: Tensor
    confident: Tensor
    certain: Tensor
    negative: Tensor

    @property
    def positive(self) -> Tensor:
        """Bool ``(B, *S)``: confident and certain, so the pseudo-label is believed."""
        return self.confident & self.certain

    @property
    def unreliable(self) -> Tensor:
        """Bool ``(B, *S)``: not confident, or confident but uncertain (the set inside eq. 16).

        That is every voxel that is not :attr:`positive`.
        """
        return ~self.positive


class DualAxis(Selector):
    """Dual-axis reliability (TCSeg eq. 6-8, 11-13 and the set inside eq. 16), for any number of classes.

    A voxel is *confident* where ``C = max_k mean_m p_m(k) >= tau_max``. It is *certain* where every pair
    disagrees by no more than its tolerance. It is positive where it is both, and negative for class k
    where it is certain and ``mean_m p_m(k) <= tau_min``: the paper prints ``C <= tau_min`` there, which
    no voxel fulfils with few classes, because ``C >= 1 / K``.

    The published code is ``norm="max", feature_tau=2 * tau``.

    Args:
        tau: tolerance of probability pairs, above 0.
        tau_min: largest probability of a class that is ruled out.
        tau_max: least confidence of a confident voxel; ``0 <= tau_min < tau_max <= 1``.
        feature_tau: tolerance of feature pairs, above 0; as ``tau`` where None.
        norm: see :func:`~medssl.reliability.disagreement`.
        use_confidence: False is the ablation without C(v): every voxel counts as confident. No voxel is
            negative then, since that is a statement about confidence.
        use_uncertainty: False is the ablation without U(v): every voxel counts as certain. Both axes
            are still measured and returned.
        affinities: which of its affinities :meth:`select` compares: that to the class that the mean view
            predicts, or those to all classes. With two classes, for which the paper prints the rule, they say
            much the same. With many, embeddings of student and teacher differ in how they lie to classes that
            the voxel is not of: over CamVid's eleven ``"all"`` believed no pixel of any batch in 4,000 steps,
            ``"predicted"`` half of them at a precision of 0.98 (``docs/reliability.md``).

    Raises:
        InputError: unknown ``affinities``.
        ValueError: where another argument is outside its range.
    """

    min_views = 2

    def __init__(
        self,
        *,
        tau: float = 0.05,
        tau_min: float = 0.1,
        tau_max: float = 0.85,
        feature_tau: float | None = None,
        norm: Norm = "l1",
        use_confidence: bool = True,
        use_uncertainty: bool = True,
        affinities: Affinities = "predicted",
    ) -> None:
        super().__init__()
        if affinities not in get_args(Affinities):
            raise unknown_name("affinities", affinities, get_args(Affinities))
        if not tau > 0:
            raise ValueError(f"tau must be above 0, got {tau}")
        if feature_tau is not None and not feature_tau > 0:
            raise ValueError(f"feature_tau must be above 0 or None, got {feature_tau}")
        if not 0 <= tau_min < tau_max <= 1:
            raise ValueError(
                f"tau_min and tau_max must satisfy 0 <= tau_min < tau_max <= 1, got {tau_min} and {tau_max}"
            )
        check_norm(norm)
        self.tau, self.tau_min, self.tau_max = tau, tau_min, tau_max
        self.feature_tau = tau if feature_tau is None else feature_tau
        self.norm: Norm = norm
        self.use_confidence, self.use_uncertainty = use_confidence, use_uncertainty
        self.affinities = affinities

    def extra_repr(self) -> str:
        """Tolerances and thresholds."""
        return f"tau={self.tau}, tau_min={self.tau_min}, tau_max={self.tau_max}, norm={self.norm!r}"

    @torch.no_grad()
    def __call__(
        self,
        views: Sequence[Tensor],
        *,
        probability_pairs: Sequence[Pair],
        feature_pairs: Sequence[Pair] = (),
    ) -> DualAxisReliability:
        """Judge every voxel.

        Args:
            views: at least one tensor of probabilities ``(B, K, *S)``; their mean decides on confidence.
            probability_pairs: pairs of probabilities ``(B, K, *S)`` that must agree within ``tau``.
            feature_pairs: pairs with an affinity map ``(B, K', *S)`` among them, of
                :func:`~medssl.reliability.prototype_affinity`, that must agree within ``feature_tau``; of all
                classes or of some, since cosines, unlike probabilities, say something new about each class.

        Returns:
            The two axes and what follows from them, without a gradient.

        Raises:
            ValueError: where shapes differ or there is no view.
        """
        mean = mean_view(views)
        top = mean.amax(1)
        uncertainty = torch.zeros_like(top)
        for pairs, tau in ((probability_pairs, self.tau), (feature_pairs, self.feature_tau)):
            # A divisor that is a tensor: CUDA multiplies by the reciprocal of a plain number, and then
            # a disagreement of exactly tau could come out above 1.
            tolerance = top.new_full((), tau)
            for a, b in pairs:
                if a.shape[0] != mean.shape[0] or a.shape[2:] != mean.shape[2:]:
                    raise ValueError(
                        f"pairs must have the batch and grid of the views {tuple(mean.shape)}, "
                        f"got {tuple(a.shape)}"
                    )
                uncertainty = torch.maximum(uncertainty, disagreement(a, b, norm=self.norm) / tolerance)
        everywhere = torch.ones_like(top, dtype=torch.bool)
        confident = top >= self.tau_max if self.use_confidence else everywhere
        certain = uncertainty <= 1 if self.use_uncertainty else everywhere
        ruled_out = mean <= self.tau_min if self.use_confidence else torch.zeros_like(mean, dtype=torch.bool)
        return DualAxisReliability(
            confidence=top,
            uncertainty=uncertainty,
            confident=confident,
            certain=certain,
            negative=ruled_out & certain.unsqueeze(1),
        )

    @torch.no_grad()
    def select(self, views: Sequence[Tensor], *, features: Sequence[Tensor] | None = None) -> Selection:
        """As a selector: the positive and negative voxels, where every two of the views are compared.

        With features every two of their affinities to class prototypes are compared as well. A prototype
        is the mean over the voxels of its class whose mean view is confident (eq. 10), or over all of its
        class where there is none; embeddings on a coarser grid are averaged there, and their affinities
        interpolated. With a single view nothing can disagree, and confidence alone decides.
        """
        mean = mean_view(views)
        labels = mean.argmax(1)
        affinities = []
        if features is not None:
            for embeddings, probs in zip(features, views, strict=True):
                # Means and cosines where the embeddings are; affinities are compared where the views are.
                grid = embeddings.shape[2:]
                keep = on_grid(mean, grid).amax(1) >= self.tau_max
                prototypes, _ = class_prototypes(embeddings, on_grid(probs, grid), keep, fallback=True)
                affinity = on_grid(prototype_affinity(embeddings, prototypes), mean.shape[2:])
                of_label = affinity.gather(1, labels.unsqueeze(1))
                affinities.append(of_label if self.affinities == "predicted" else affinity)
        judged = self(
            views,
            probability_pairs=list(combinations(views, 2)),
            feature_pairs=list(combinations(affinities, 2)),
        )
        return Selection(labels, judged.positive, ruled_out=judged.negative)
