"""A small feature pyramid network (Lin et al. 2017; for segmentation Kirillov et al. 2019)."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.networks.base import Output
from medssl.networks.images.base import (
    ImageNetwork,
    conv_unit,
    resized,
    single_output,
)
from medssl.networks.images.pooling import AtrousPyramidPooling

STAGES = 4


class FPN(ImageNetwork):
    """A residual encoder to stride 16, atrous spatial pyramid pooling, and a pyramid back to stride 4.

    For machines without a GPU: 0.4 M parameters. On one thread a training step takes a third to a sixth of
    that of MONAI's SegResNet or BasicUNet of as many parameters, which work at full resolution; and from
    random weights it learns CamVid better than a DeepLabV3+ on an equally small ResNet of transformers
    (``docs/networks.md``).

    ``features`` are at stride 4, ``context`` is the output of the pooling, at stride 16. Any size of image.

    Args:
        num_classes: classes ``K``.
        in_channels: image channels.
        widths: channels at strides 2, 4, 8 and 16.
        channels: of pooling and pyramid.
        dilations: of the pooling's 3x3 convolutions; those of DeepLab are for grids of three times the side.
        mean: of the channels; ImageNet's by default.
        std: of the channels; ImageNet's by default.

    Raises:
        InputError: an argument out of range.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64, 96),
        channels: int = 48,
        dilations: Sequence[int] = (2, 4, 6),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, mean, std)
        if len(widths) != STAGES or min(widths) < 1:
            raise InputError(f"widths {list(widths)}", f"not {STAGES} counts of channels", "give one a stage")
        self.stem = conv_unit(in_channels, widths[0], 3, stride=2)
        self.stages = nn.ModuleList(ResidualBlock(inputs, outputs) for inputs, outputs in pairwise(widths))
        self.pooling = AtrousPyramidPooling(widths[-1], channels, dilations)
        # From the coarsest; the maps at stride 2 are not read.
        self.laterals = nn.ModuleList(
            nn.Conv2d(width, channels, 1, bias=False) for width in reversed(widths[1:-1])
        )
        self.smoothings = nn.ModuleList(conv_unit(channels, channels, 3) for _ in self.laterals)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps at strides 4, 8 and 16."""
        x = self.stem(self.normalization(x))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Output:
        """Logits, the embeddings at stride 4 before the classifier, and the pooled pyramid."""
        context = features = self.pooling(maps[-1])
        for lateral, smoothing, level in zip(
            self.laterals, self.smoothings, reversed(maps[:-1]), strict=True
        ):
            features = smoothing(resized(features, level.shape[2:]) + lateral(level))
        return single_output(resized(self.classifier(features), size), features, context)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, and a projected shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = conv_unit(inputs, outputs, 3, stride=2)
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, outputs, H/2, W/2)``."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)
