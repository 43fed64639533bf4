"""UniMatch: two strong views, and a weak one with perturbed features.

Source: "Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation" (Yang et al., CVPR
2023) and the code published with it; ``docs/methods/unimatch.md`` holds the table "paper, published code,
medssl".
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from medssl.common.errors import InputError
from medssl.methods.channel_dropout import drop_channels
from medssl.methods.fixmatch import Criterion, FixMatch, Partner, Passes
from medssl.methods.targets import Target, rows_of
from medssl.networks import EncoderDecoder, Network
from medssl.reliability import Selector


class UniMatch(FixMatch):
    """UniMatch: FixMatch with two strong views and dropped channels of the weak one's encoder maps.

    ``L = (Lx + 0.25 Ls1 + 0.25 Ls2 + 0.5 Lfp) / 2``. ``Lfp`` teaches the weak view's own pseudo-labels to its
    prediction from maps of which half of the channels are dropped; these and the maps as they are share a
    batch in the decoder, as published. Terms, selection and boxes are those of :class:`FixMatch`.

    Args:
        network: the student, whose encoder and decoder can be run apart.
        selector: as for :class:`FixMatch`, like all that follow.
        threshold: least confidence, for no selector.
        criterion: of labelled images.
        partner: whose boxes are pasted.
        alpha: of the teacher that a selector of several views brings with it.
        cutmix: probability of a box.
        seed: of boxes and dropped channels.

    Raises:
        InputError: a network that is no :class:`~medssl.networks.EncoderDecoder`, and as :class:`FixMatch`.
    """

    views = ("weak", "strong1", "strong2")
    weights: ClassVar[Mapping[str, float]] = {"supervised": 0.5, "strong": 0.25, "feature": 0.25}
    network: EncoderDecoder

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
    ) -> None:
        check_encoder_decoder(network)
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

    def _passes(
        self, labeled: Tensor, weak: Tensor, strong: Sequence[Tensor], rng: np.random.Generator
    ) -> Passes:
        """Labelled and weak images together, decoded as they are and perturbed; then the strong views."""
        images = torch.cat([labeled, weak])
        maps = self.network.encode(images)
        both = [torch.cat(pair) for pair in zip(maps, drop_channels(maps, rng), strict=True)]
        output = self.network.decode(both, images.shape[2:])
        clean = slice(len(labeled), len(images))
        return Passes(
            labeled=output.logits[0][: len(labeled)],
            strong=self.network(torch.cat(list(strong))),
            weak=rows_of(output, clean, detached=True),
            perturbed=output.logits[0][len(images) + len(labeled) :],
        )

    def _unlabeled_terms(
        self,
        passes: Passes,
        ours: Target,
        theirs: Target,
        boxes: Sequence[Tensor],
        rng: np.random.Generator,
    ) -> dict[str, Tensor]:
        """Mean over both strong views, and the perturbed weak one."""
        terms = super()._unlabeled_terms(passes, ours, theirs, boxes, rng)
        if passes.perturbed is None:
            raise ValueError("a pass of UniMatch has perturbed logits")
        return terms | {"feature": ours.loss(passes.perturbed)}


def check_encoder_decoder(network: Network) -> None:
    """Refuse a network between whose encoder and decoder nothing can be perturbed.

    Raises:
        InputError: no :class:`~medssl.networks.EncoderDecoder`.
    """
    if not isinstance(network, EncoderDecoder):
        raise InputError(
            f"network {type(network).__name__}",
            "does not run encoder and decoder apart, and this method perturbs what lies between",
            "use a medssl.networks.EncoderDecoder, such as VNet, or the method fixmatch",
        )
