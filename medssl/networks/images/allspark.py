"""The network of AllSpark: any encoder and decoder, with channel attention on the map between them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.networks.base import EncoderDecoder, Network, Output
from medssl.networks.images.channel_attention import ChannelAttention, SemanticMemory, channel_classes


class AllSparkNetwork(EncoderDecoder):
    """A network whose labelled images are rebuilt from the channels of unlabelled ones while it trains.

    "AllSpark: Reborn Labeled Features from Unlabeled in Transformer for Semi-Supervised Semantic
    Segmentation" (Wang et al., CVPR 2024): SegFormer-B5 there. The module
    (:class:`~medssl.networks.images.channel_attention.ChannelAttention`) takes the place of nothing: the
    coarsest map goes through it on its way to the decoder.

    :meth:`decode_together` is what the method ``allspark`` trains with. By itself (:meth:`forward`,
    :meth:`decode`, :meth:`deployed`) the network has each image look at its own channels and at nothing else:
    a prediction depends neither on the memory nor on the images beside it, and images may have any size that
    the wrapped network takes. Any other method can train it so; what only unlabelled images use then does not
    learn.

    Args:
        network: what is wrapped; its last encoder map is what the module works on.
        num_classes: classes ``K``, one queue of the memory each.
        patch_size: of the training, on whose coarsest grid the memory lies.
        in_channels: image channels.
        heads: of the attentions.
        dropout: of the attentions.

    Raises:
        InputError: a network that does not run encoder and decoder apart, or an argument out of range.
    """

    deployed_modules = ("network", "attention")

    def __init__(
        self,
        network: Network,
        num_classes: int,
        *,
        patch_size: Sequence[int],
        in_channels: int = 3,
        heads: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(network, EncoderDecoder):
            fault = "does not run encoder and decoder apart, and the module lies between"
            remedy = "use a medssl.networks.EncoderDecoder, such as SegFormer or FPN"
            raise InputError(f"network {type(network).__name__}", fault, remedy)
        for name, count in (("num_classes", num_classes), ("heads", heads)):
            if count < 1:
                raise InputError(f"{name}={count}", "out of range", "give 1 or more")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout={dropout}", "out of range", "give a number in [0, 1)")
        self.network = network
        self.patch_multiple, self.fitting = network.patch_multiple, network.fitting
        self.spatial_axes = network.spatial_axes
        self.backbone_modules = tuple(f"network.{name}" for name in network.backbone_modules)
        channels, *grid = _coarsest_shape(network, in_channels, patch_size)
        self.grid = tuple(grid)
        self.attention = ChannelAttention(channels, heads=heads, dropout=dropout)
        # A module of its own, and not of the attention, so that exported networks are without it.
        self.memory = SemanticMemory(num_classes, channels, torch.Size(grid).numel())

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of the wrapped network."""
        return self.network.encode(x)

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Output:
        """As the wrapped network, each image's coarsest map rebuilt from its own channels."""
        return self.network.decode([*maps[:-1], self.attention(maps[-1])], size)

    def decode_together(
        self, maps: Sequence[Tensor], size: Sequence[int], *, labeled: int, logits: Tensor, recall: bool
    ) -> Output:
        """A training pass over labelled and unlabelled images.

        Channels of the unlabelled images are kept in the memory, in training mode, and look at each other
        within an image; channels of the labelled images look at those of all unlabelled images of the batch,
        or at the memory.

        Args:
            maps: as :meth:`encode` gives them, of labelled images and, behind them, unlabelled ones.
            size: the images' ``S``.
            labeled: how many of them are labelled.
            logits: ``(U, K, *S)`` of the unlabelled images, by which their channels are grouped into classes.
            recall: whether labelled images look at the memory.

        Raises:
            InputError: patches of another size than the memory is for.
        """
        grid = tuple(maps[-1].shape[2:])
        if grid != self.grid:
            ours, theirs = ("x".join(map(str, sides)) for sides in (self.grid, grid))
            fault = f"have a coarsest grid of {theirs}, and the memory one of {ours}"
            raise InputError("training patches", fault, "give the network the patch_size of the training")
        entered, tokens = self.attention.enter(maps[-1])
        unlabeled = tokens[labeled:]
        if self.training:
            self.memory.push(unlabeled, channel_classes(unlabeled, logits, grid))
        # A copy, since the next step's push comes perhaps before this step's gradient.
        others = self.memory().clone() if recall else unlabeled
        attended = torch.cat(
            [self.attention.labeled(tokens[:labeled], others), self.attention.unlabeled(unlabeled)]
        )
        return self.network.decode([*maps[:-1], self.attention.leave(entered, attended, grid)], size)


class _Encoder(nn.Module):
    """``encode`` as a call, which is what torch replaces weights for."""

    def __init__(self, network: EncoderDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.encode(x)[-1]


def _coarsest_shape(network: EncoderDecoder, in_channels: int, patch_size: Sequence[int]) -> list[int]:
    """Channels and grid of the last encoder map of a patch, asked of the network itself without computing."""
    encoder = _Encoder(network)
    tensors = {**dict(encoder.named_parameters()), **dict(encoder.named_buffers())}
    weightless = {name: tensor.to("meta") for name, tensor in tensors.items()}
    patch = torch.zeros(1, in_channels, *patch_size, device="meta")
    try:
        with torch.no_grad():
            coarsest: Tensor = torch.func.functional_call(encoder, weightless, (patch,))
    except RuntimeError as error:
        listed = "x".join(map(str, patch_size))
        fault = f"{type(network).__name__} cannot take it ({str(error).splitlines()[0]})"
        raise InputError(f"patch size {listed}", fault, "give sides that it can take") from error
    return list(coarsest.shape[1:])
