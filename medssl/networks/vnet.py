"""The V-Net of the semi-supervised segmentation literature, with one decoder or two.

Source: V-Net (Milletari et al. 2016) as re-used by UA-MT and MC-Net, whose published numbers the field
compares with. MONAI's ``VNet`` differs from it (5x5x5 kernels, PReLU, residual sums, 45.6 M parameters,
one decoder); ours stays for comparability.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.networks.base import EncoderDecoder, Output, check_patch_size
from medssl.networks.downsampling import Downsampling, product_of_strides

STAGES = 5
STRIDE = 2 ** (STAGES - 1)
AS_PUBLISHED = ((2, 2, 2),) * (STAGES - 1)
# Convolutions per stage, of the encoder from the finest and of a decoder from the coarsest; where there are
# fewer stages, the coarsest are left out.
ENCODER_DEPTHS = (1, 2, 3, 3, 3)
DECODER_DEPTHS = (3, 3, 2, 1)


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    first, second, third = values
    return first, second, third


def _unit(operation: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(operation, nn.BatchNorm3d(channels), nn.ReLU(inplace=True))


def _convolution(inputs: int, outputs: int, kernel: Sequence[int]) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, _three(kernel), padding=_three([side // 2 for side in kernel]))


def _stage(channels: int, depth: int, kernel: Sequence[int], first: int | None = None) -> nn.Sequential:
    inputs = [channels if first is None else first] + [channels] * (depth - 1)
    return nn.Sequential(*(_unit(_convolution(i, channels, kernel), channels) for i in inputs))


class Encoder(nn.Module):
    """Stages, each at a coarser resolution and twice the channels of the one before."""

    def __init__(self, in_channels: int, width: int, dropout: float, steps: Downsampling) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(len(steps.kernels))]
        self.stages = nn.ModuleList(
            _stage(w, depth, kernel, in_channels if i == 0 else None)
            for i, (w, depth, kernel) in enumerate(zip(widths, ENCODER_DEPTHS, steps.kernels, strict=False))
        )
        self.downs = nn.ModuleList(
            _unit(nn.Conv3d(w, 2 * w, _three(stride), stride=_three(stride)), 2 * w)
            for w, stride in zip(widths, steps.strides, strict=False)
        )
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
        steps: the encoder's strides and kernels, from the finest; a stage here has the kernel of the
            encoder's at its resolution.
        trilinear: upsample by trilinear interpolation and a convolution instead of a transposed one.
    """

    def __init__(
        self, num_classes: int, width: int, dropout: float, steps: Downsampling, *, trilinear: bool = False
    ) -> None:
        super().__init__()
        count = len(steps.strides)
        widths = [width * 2**i for i in reversed(range(count))]
        strides, kernels = steps.strides[::-1], steps.kernels[-2::-1]
        self.ups = nn.ModuleList(
            _unit(self._up(2 * w, w, stride, kernel, trilinear), w)
            for w, stride, kernel in zip(widths, strides, kernels, strict=True)
        )
        self.stages = nn.ModuleList(
            _stage(w, depth, kernel)
            for w, depth, kernel in zip(widths, DECODER_DEPTHS[-count:], kernels, strict=True)
        )
        self.dropout = nn.Dropout3d(dropout)
        self.classifier = nn.Conv3d(width, num_classes, 1)

    @staticmethod
    def _up(
        inputs: int, outputs: int, stride: Sequence[int], kernel: Sequence[int], trilinear: bool
    ) -> nn.Module:
        if not trilinear:
            return nn.ConvTranspose3d(inputs, outputs, _three(stride), stride=_three(stride))
        return nn.Sequential(
            nn.Upsample(scale_factor=_three(stride), mode="trilinear", align_corners=True),
            _convolution(inputs, outputs, kernel),
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


def _checked_steps(
    strides: Sequence[Sequence[int]] | None, kernels: Sequence[Sequence[int]] | None
) -> Downsampling:
    """Those strides and kernels, or the published ones."""
    steps = [list(step) for step in (AS_PUBLISHED if strides is None else strides)]
    sides = (
        [[3, 3, 3] for _ in range(len(steps) + 1)] if kernels is None else [list(side) for side in kernels]
    )
    if not 1 <= len(steps) < STAGES or any(len(step) != 3 or min(step) < 1 for step in steps):
        remedy = f"give 1 to {STAGES - 1} steps, the finest first, each of three strides of at least 1"
        raise InputError(f"strides={steps}", "the V-Net cannot take them", remedy)
    if len(sides) != len(steps) + 1 or any(
        len(kernel) != 3 or min(kernel) < 1 or not all(side % 2 for side in kernel) for kernel in sides
    ):
        remedy = f"give {len(steps) + 1} kernels, one more than steps, each of three odd sides"
        raise InputError(f"kernels={sides}", "the V-Net cannot take them", remedy)
    return Downsampling(steps, sides)


class VNet(EncoderDecoder):
    """Encoder and one decoder (9,448,866 parameters at the default width, strides and kernels).

    The supervised lower bound trains it. Its state-dict keys are those of the deployed part of
    :class:`DualDecoderVNet`.

    Args:
        in_channels: image channels.
        num_classes: classes ``K``, background included.
        width: filters of the first stage; the literature's is 16.
        dropout: channel dropout at the coarsest stage and before the classifier.
        strides: three of each step between two stages, the finest first; 1 to 4 steps, fewer for fewer
            stages. None is four times 2 x 2 x 2, as published.
            :func:`~medssl.networks.anisotropic_strides` gives those for an axis of few thick slices.
        kernels: three odd sides of each stage's convolutions, the finest first, one entry more than strides;
            the decoders' stages have the same. None is 3 x 3 x 3 everywhere, as published.

    Attributes:
        patch_multiple: 16 as published, else the product of the strides an axis.

    Raises:
        InputError: an argument out of range.
    """

    patch_multiple: int | tuple[int, ...] = STRIDE
    spatial_axes = 3
    decoders = 1
    deployed_modules = ("encoder", "decoder1")

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 2,
        width: int = 16,
        dropout: float = 0.5,
        strides: Sequence[Sequence[int]] | None = None,
        kernels: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        _check_arguments(in_channels, num_classes, width, dropout)
        self.steps = _checked_steps(strides, kernels)
        multiples = product_of_strides(self.steps.strides)
        self.patch_multiple = multiples[0] if len(set(multiples)) == 1 else multiples
        self.encoder = Encoder(in_channels, width, dropout, self.steps)
        self.decoder1 = Decoder(num_classes, width, dropout, self.steps)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of all stages of images ``(B, C, X, Y, Z)``, each side a multiple of the strides'."""
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

    12,347,716 parameters with one input channel, two classes and the default width, strides and kernels.
    TCSeg's two student views come from the two decoders; only the first is deployed. Arguments as for
    :class:`VNet`.
    """

    decoders = 2

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 2,
        width: int = 16,
        dropout: float = 0.5,
        strides: Sequence[Sequence[int]] | None = None,
        kernels: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(in_channels, num_classes, width, dropout, strides, kernels)
        self.decoder2 = Decoder(num_classes, width, dropout, self.steps, trilinear=True)

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Output:
        """Both decoders' logits and features; their size follows from the maps'."""
        (logits1, features1), (logits2, features2) = self.decoder1(maps), self.decoder2(maps)
        return Output((logits1, logits2), (features1, features2))
