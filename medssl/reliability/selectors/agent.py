"""Agents in feature space instead of confidence: the policy of AgScore."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from medssl.common.errors import InputError, unknown_name
from medssl.reliability.agents import AgentScore, Strategy
from medssl.reliability.grids import covered, on_grid
from medssl.reliability.measures import mean_view
from medssl.reliability.mixture import TwoGaussians
from medssl.reliability.selectors.base import Selection, Selector

FeaturesFrom = Literal["features", "context"]


class AgentScoreSelector(Selector):
    """Believe a pixel whose embedding is like reliable ones (AgScore, ICML 2025), in 2D and 3D.

    On the embeddings' grid every pixel gets a score (:class:`~medssl.reliability.AgentScore`), and two normal
    distributions are fitted to the scores of the batch (:class:`~medssl.reliability.TwoGaussians`). The
    scores are interpolated to the views' grid, and a pixel is believed above the crossing of the two. Where
    there are no two groups, confidence decides for the whole batch, and it is counted. No threshold has to be
    chosen.

    Several views: labels and confidence are those of their mean, and cosines are the mean of the views'
    (:func:`~medssl.reliability.agents.unit_embeddings`).

    What it keeps, in training mode alone: ``selections``, the number of calls, on which the random draws
    depend, so that a resumed training draws what an uninterrupted one would; ``fallbacks``, how many of them
    fell back to confidence; ``means``, ``variances`` and ``weights`` of the last mixture, ``(2,)`` each.

    Args:
        num_positive: positive agents ``N``.
        num_negative: negative agents ``M``.
        strategy: how negative agents are chosen: ``"orthogonal"``, ``"uniform"`` or ``"bottom"``.
        temperature: of the cosines.
        budget: share of the pixels from which agents are taken.
        features_from: ``"features"``, embeddings before the classifier; ``"context"``, the coarsest ones.
        fallback_threshold: least confidence of a believed pixel where the mixture is degenerate.
        seed: of what is drawn at random.

    Raises:
        ValueError: an argument outside its range.
    """

    wants_valid = True
    selections: Tensor
    fallbacks: Tensor
    means: Tensor
    variances: Tensor
    weights: Tensor

    def __init__(
        self,
        num_positive: int = 64,
        num_negative: int = 256,
        *,
        strategy: Strategy = "orthogonal",
        temperature: float = 1.0,
        budget: float = 0.01,
        features_from: FeaturesFrom = "features",
        fallback_threshold: float = 0.95,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if features_from not in get_args(FeaturesFrom):
            raise unknown_name("features_from", features_from, get_args(FeaturesFrom))
        if not 0 <= fallback_threshold <= 1:
            raise ValueError(f"fallback_threshold must be in [0, 1], got {fallback_threshold}")
        self.score = AgentScore(
            num_positive=num_positive,
            num_negative=num_negative,
            strategy=strategy,
            temperature=temperature,
            budget=budget,
            seed=seed,
        )
        self.features_from = features_from
        self.fallback_threshold = fallback_threshold
        for name in ("selections", "fallbacks"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        for name in ("means", "variances", "weights"):
            self.register_buffer(name, torch.zeros(2))

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.score}, features_from={self.features_from!r}, fallback={self.fallback_threshold}"

    @torch.no_grad()
    def scores(
        self, views: Sequence[Tensor], *, features: Sequence[Tensor] | None, valid: Tensor | None = None
    ) -> tuple[Tensor, TwoGaussians]:
        """The score of every pixel and the mixture that was fitted to those of valid ones.

        Args:
            views: as for :meth:`select`.
            features: likewise.
            valid: likewise.

        Returns:
            float32 ``(B, *S)`` in (0, 1), and the mixture, which saw the scores on the embeddings' grid.

        Raises:
            InputError: no features.
            ValueError: shapes that do not belong together.
        """
        return self._scores(mean_view(views), features, valid)

    def _scores(
        self, mean: Tensor, features: Sequence[Tensor] | None, valid: Tensor | None
    ) -> tuple[Tensor, TwoGaussians]:
        if not features:
            asked = "embeddings before the classifier" if self.features_from == "features" else "context"
            raise InputError(
                type(self).__name__,
                f"the method hands it no {asked}",
                "train a network that shows them (an EncoderDecoder; TCSeg: spaces with feature), or choose "
                "another selector, such as ConfidenceThreshold",
            )
        grid = features[0].shape[2:]
        known = None if valid is None else covered(valid, grid)
        scores = self.score(features, on_grid(mean, grid), valid=known, number=self.selections)
        return on_grid(scores.unsqueeze(1), mean.shape[2:]).squeeze(1), TwoGaussians.fit(scores, known)

    @torch.no_grad()
    def select(
        self,
        views: Sequence[Tensor],
        *,
        features: Sequence[Tensor] | None = None,
        valid: Tensor | None = None,
    ) -> Selection:
        """The most probable class of the mean view, believed where the score is of the upper component.

        Args:
            views: at least one tensor of probabilities ``(B, K, *S)`` of the same input.
            features: embeddings ``(B, C, *T)`` on the views' grid or a coarser one, one tensor a view.
            valid: bool ``(B, *S)``, true where there is image and not padding: the other pixels are neither
                agents nor seen by the mixture nor believed. None where there is no padding.

        Returns:
            A selection with the statistics ``separation`` (distance of the two means in units of their
            deviation) and ``fallback`` (1 where confidence decided).

        Raises:
            InputError: no features.
            ValueError: shapes that do not belong together.
        """
        mean = mean_view(views)
        scores, mixture = self._scores(mean, features, valid)
        top = mean.max(1)
        degenerate = mixture.degenerate
        mask = torch.where(
            degenerate, top.values >= self.fallback_threshold, scores > mixture.crossing().to(scores.dtype)
        )
        if self.training:
            self.selections += 1
            self.fallbacks += degenerate
            for name in ("means", "variances", "weights"):
                getattr(self, name).copy_(getattr(mixture, name))
        statistics = {"separation": mixture.separation, "fallback": degenerate.double()}
        return Selection(top.indices, mask if valid is None else mask & valid, statistics=statistics)
