"""UniMatch V2: a mean teacher's pseudo-labels, and two strong views with complementary channels.

Source: "UniMatch V2: Pushing the Limit of Semi-Supervised Semantic Segmentation" (Yang et al., TPAMI 2025)
and the code published with it; ``docs/methods/unimatch_v2.md`` holds the table "paper, published code,
medssl".
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medssl.methods.channel_dropout import drop_complementary_channels
from medssl.methods.fixmatch import Criterion, FixMatch, Passes
from medssl.methods.unimatch import check_encoder_decoder
from medssl.networks import EncoderDecoder, Network
from medssl.reliability import Selector


class UniMatchV2(FixMatch):
    """UniMatch V2: image and feature perturbation in one, taught by a mean teacher.

    ``L = (Lx + (Ls1 + Ls2) / 2) / 2``. Where one strong view keeps a channel of the encoder's maps, the other
    one drops it; half of the pairs keep all. Boxes come from the same batch, the last image first. Terms and
    selection are those of :class:`FixMatch`; the teacher runs in evaluation mode with the student's buffers.

    Args:
        network: the student, whose encoder and decoder can be run apart.
        selector: as for :class:`FixMatch`, like all that follow.
        threshold: least confidence, for no selector.
        criterion: of labelled images.
        alpha: upper bound of the teacher's decay.
        cutmix: probability of a box.
        seed: of boxes and dropped channels.

    Raises:
        InputError: a network that is no :class:`~medssl.networks.EncoderDecoder`, and as :class:`FixMatch`.
    """

    views = ("weak", "strong1", "strong2")
    network: EncoderDecoder

    def __init__(
        self,
        network: Network,
        *,
        selector: Selector | None = None,
        threshold: float = 0.95,
        criterion: Criterion | None = None,
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
            partner="flipped",
            teacher="ema",
            alpha=alpha,
            cutmix=cutmix,
            seed=seed,
        )

    def _passes(
        self, labeled: Tensor, weak: Tensor, strong: Sequence[Tensor], rng: np.random.Generator
    ) -> Passes:
        """Labelled images by themselves, and both strong views together."""
        logits = self.network(labeled).logits[0]
        images = torch.cat(list(strong))
        maps = drop_complementary_channels(self.network.encode(images), rng)
        return Passes(logits, self.network.decode(maps, images.shape[2:]))
