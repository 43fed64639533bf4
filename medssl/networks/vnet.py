"""The V-Net of the semi-supervised segmentation literature, with one decoder or two.

Source: V-Net (Milletari et al. 2016) as re-used by UA-MT and MC-Net, whose published numbers the field
compares with. MONAI's ``VNet`` differs from it (5x5x5 kernels, PReLU, residual sums, 45.6 M parameters,
one decoder); ours stays for comparability.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.networks.base import EncoderDecoder, Output, check_patch_size

STAGES = 5
STRIDE = 2 ** (STAGES - 1)
# Convolutions per stage, of the encoder from the finest and of a decoder from the coarsest.
ENCODER_DEPTHS = (1, 2, 3, 3, 3)
DECODER_DEPTHS = (3, 3, 2, 1)


def _unit(operation: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(operation, nn.BatchNorm3d(channels), nn.ReLU(inplace=True))


def _stage(channels: int, depth: int, first: int | None = None) -> nn.Sequential:
    inputs = [channels if first is None else first] + [channels] * (depth - 1)
    return nn.Sequential(*(_unit(nn.Conv3d(i, channels, 3, padding=1), channels) for i in inputs))


class Encoder(nn.Module):
    """Five stages, each at half the resolution and twice the channels of the one before."""

    def __init__(self, in_channels: int, width: int, dropout: float) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(STAGES)]
        self.stages = nn.ModuleList(
            _stage(w, depth, in_channels if i == 0 else None)
            for i, (w, depth) in enumerate(zip(widths, ENCODER_DEPTHS, strict=True))
        )
        self.downs = nn.ModuleList(_unit(nn.Conv3d(w, 2 * w, 2, stride=2), 2 * w) for w in widths[:-1])
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of all stages, the finest first."""
        maps = [self.stages[0](x)]
        for down, stage in zip(self.downs, self.stages[1:], strict=True):
            maps.append(stage(down(maps[-1])))
        maps[-1] = self.dropout(maps[-1])
        return maps


class Decoder(nn.Module):
    """From the coarsest map back to full resolution; skip connections are sums.

    Args:
        num_classes: output channels ``K``.
        width: channels at full resolution.
        dropout: channel dropout before the classifier.
        trilinear: upsample by trilinear interpolation and a 3x3x3 convolution instead of a transposed one.
    """

    def __init__(self, num_classes: int, width: int, dropout: float, *, trilinear: bool = False) -> None:
        super().__init__()
        widths = [width * 2**i for i in reversed(range(STAGES - 1))]
        self.ups = nn.ModuleList(_unit(self._up(2 * w, w, trilinear), w) for w in widths)
        self.stages = nn.ModuleList(_stage(w, depth) for w, depth in zip(widths, DECODER_DEPTHS, strict=True))
        self.dropout = nn.Dropout3d(dropout)
        self.classifier = nn.Conv3d(width, num_classes, 1)

    @staticmethod
    def _up(inputs: int, outputs: int, trilinear: bool) -> nn.Module:
        if not trilinear:
            return nn.ConvTranspose3d(inputs, outputs, 2, stride=2)
        return nn.Sequential(
            nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True),
            nn.Conv3d(inputs, outputs, 3, padding=1),
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits ``(B, K, *S)`` and the embedding before dropout ``(B, width, *S)``."""
        x = maps[-1]
        for up, stage, skip in zip(self.ups, self.stages, reversed(maps[:-1]), strict=True):
            x = stage(up(x) + skip)
        return self.classifier(self.dropout(x)), x


def _check_arguments(in_channels: int, num_classes: int, width: int, dropout: float) -> None:
    for name, value, least in (
        ("in_channels", in_channels, 1),
        ("num_classes", num_classes, 2),
        ("width", width, 1),
    ):
        if value < least:
            raise InputError(f"{name}={value}", "out of range", f"give an integer of at least {least}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout={dropout}", "out of range", "give a number in [0, 1)")


class VNet(EncoderDecoder):
    """Encoder and one decoder (9,448,866 parameters at the default width).

    The supervised lower bound trains it. Its state-dict keys are those of the deployed part of
    :class:`DualDecoderVNet`.

    Args:
        in_channels: image channels.
        num_classes: classes ``K``, background included.
        width: filters of the first stage; the literature's is 16.
        dropout: channel dropout at the coarsest stage and before the classifier.
    """

    patch_multiple = STRIDE
    spatial_axes = 3
    deployed_modules = ("encoder", "decoder1")

    def __init__(
        self, in_channels: int = 1, num_classes: int = 2, width: int = 16, dropout: float = 0.5
    ) -> None:
        super().__init__()
        _check_arguments(in_channels, num_classes, width, dropout)
        self.encoder = Encoder(in_channels, width, dropout)
        self.decoder1 = Decoder(num_classes, width, dropout)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of all stages of images ``(B, C, X, Y, Z)``, each side a multiple of 16."""
        check_patch_size(self, x.shape[2:])
        return tuple(self.encoder(x))

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Output:
        """Logits and features of every decoder; their size follows from the maps'."""
        logits, features = self.decoder1(maps)
        return Output((logits,), (features,))

    def deployed(self, x: Tensor) -> Tensor:
        """Logits ``(B, K, X, Y, Z)`` of the first decoder; no other is run."""
        return VNet.decode(self, self.encode(x), x.shape[2:]).logits[0]


class DualDecoderVNet(VNet):
    """One encoder, a transposed-convolution decoder and a trilinear one (MC-Net, Wu et al. 2021).

    12,347,716 parameters with one input channel, two classes and the default width. TCSeg's two student
    views come from the two decoders; only the first is deployed. Arguments as for :class:`VNet`.
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 2, width: int = 16, dropout: float = 0.5
    ) -> None:
        super().__init__(in_channels, num_classes, width, dropout)
        self.decoder2 = Decoder(num_classes, width, dropout, trilinear=True)

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Output:
        """Both decoders' logits and features; their size follows from the maps'."""
        (logits1, features1), (logits2, features2) = self.decoder1(maps), self.decoder2(maps)
        return Output((logits1, logits2), (features1, features2))
