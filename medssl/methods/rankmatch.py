"""RankMatch: UniMatch, and agreement of weak and strong views on which agents a place is most like.

Source: "RankMatch: Exploring the Better Consistency Regularization for Semi-supervised Semantic Segmentation"
(Mai et al., CVPR 2024) and the code published with it; ``docs/methods/rankmatch.md`` holds the table "paper,
published code, medssl".
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from medssl.common.errors import InputError
from medssl.losses import rank_loss
from medssl.methods.fixmatch import Criterion, Partner, Passes
from medssl.methods.targets import Target
from medssl.methods.unimatch import UniMatch
from medssl.networks import Network, Output
from medssl.reliability import Selector
from medssl.reliability.agents import mutually_distant
from medssl.reliability.grids import LINEAR

POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class RankMatch(UniMatch):
    """RankMatch: UniMatch with a loss of rank correlation.

    ``L = L_UniMatch + 0.1 (Lc1 + Lc2) / 2``. ``Lc`` compares, place by place on a coarse grid, how weak and
    strong view rank the agents, embeddings of the same image that are as unlike each other as possible
    (:func:`medssl.losses.rank_loss`). Boxes are pasted into the weak view's embeddings as into the images.
    No confidence counts in it.

    Embeddings are the network's coarsest (:attr:`~medssl.networks.Output.context`), those before the
    classifier where it has none. A grid of more than ``max_positions`` is averaged over cells of 2 along each
    axis until it has fewer; the published ones have 441 to 2,601 positions.

    Args:
        network: the student, whose encoder and decoder can be run apart, and which shows embeddings.
        selector: as for :class:`FixMatch`, like all up to ``seed``; the rank loss does not ask it.
        threshold: least confidence, for no selector.
        criterion: of labelled images.
        partner: whose boxes are pasted.
        alpha: of the teacher that a selector of several views brings with it.
        cutmix: probability of a box.
        seed: of boxes, dropped channels and first agents.
        agents: of an image, at least 2.
        top: agents that are ranked, at most 5: all their orders are counted.
        max_positions: see above.

    Raises:
        InputError: a number out of range, and as :class:`UniMatch`; in the first step, a network that shows
            no embeddings.
    """

    weights: ClassVar[Mapping[str, float]] = {**UniMatch.weights, "rank": 0.1}

    def __init__(
        self,
        network: Network,
        *,
        selector: Selector | None = None,
        threshold: float = 0.95,
        criterion: Criterion | None = None,
        partner: Partner = "drawn",
        alpha: float = 0.996,
        cutmix: float = 0.5,
        seed: int = 0,
        agents: int = 64,
        top: int = 4,
        max_positions: int = 4096,
    ) -> None:
        super().__init__(
            network,
            selector=selector,
            threshold=threshold,
            criterion=criterion,
            partner=partner,
            alpha=alpha,
            cutmix=cutmix,
            seed=seed,
        )
        if not 2 <= top <= min(5, agents):
            raise InputError(f"top={top}", f"out of range, with agents={agents}", "give 2 to 5 of them")
        if max_positions < 2:
            raise InputError(f"max_positions={max_positions}", "out of range", "give at least 2")
        self.agents, self.top, self.max_positions = agents, top, max_positions

    def _unlabeled_terms(
        self,
        passes: Passes,
        ours: Target,
        theirs: Target,
        boxes: Sequence[Tensor],
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """UniMatch's, and the mean rank loss of both strong views."""
        terms = super()._unlabeled_terms(passes, ours, theirs, boxes, rng)
        if ours.context is None or theirs.context is None:
            raise ValueError("a target of RankMatch has a context")
        losses = []
        for box, strong in zip(boxes, self._context(passes.strong).chunk(len(boxes)), strict=True):
            weak = paste_on_grid(box, theirs.context, ours.context)
            places = F.normalize(weak.flatten(2).transpose(1, 2), dim=2)
            first = torch.from_numpy(rng.integers(places.shape[1], size=(len(places), 1))).to(weak.device)
            every = torch.ones_like(places[..., 0], dtype=torch.bool)
            agents = mutually_distant(places, every, first, self.agents, absolute=True)
            losses.append(rank_loss(weak, strong, agents, top=self.top))
        return terms | {"rank": torch.stack(losses).mean()}

    def _context(self, output: Output) -> Tensor:
        """The first decoder's coarsest embeddings, in float32, on a grid of at most ``max_positions``."""
        shown = output.context or output.features
        if not shown:
            fault = "shows no embeddings, which RankMatch compares"
            raise InputError(f"network {type(self.network).__name__}", fault, "use the method unimatch")
        context = shown[0].float()
        while context.shape[2:].numel() > self.max_positions:
            context = POOLS[context.ndim - 2](context, 2, ceil_mode=True)
        return context


def paste_on_grid(boxes: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """Paste boxes of the images' grid into embeddings on a coarser one.

    The published code brings the embeddings to the images' grid, pastes, and goes back, all linearly between
    the corners. That is linear in the embeddings, so the boxes alone are brought to the coarse grid: the same
    wherever coarse positions fall on pixels, as those of the published crops (321, 513, 801; a sixteenth of
    it) do, without 256 channels at full resolution.

    Args:
        boxes: ``(B, *S)`` bool.
        inside: ``(B, C, *R)``.
        outside: likewise.
    """
    mode = LINEAR[inside.ndim - 2]
    share = F.interpolate(boxes.unsqueeze(1).float(), size=inside.shape[2:], mode=mode, align_corners=True)
    return torch.lerp(outside, inside, share)
