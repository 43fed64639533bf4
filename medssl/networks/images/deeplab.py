"""DeepLabV3+ (Chen et al. 2018) on a ResNet, as the semi-supervised literature trains it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.networks.base import Output
from medssl.networks.images.backbones import Config, build_backbone, named_config
from medssl.networks.images.base import (
    ImageNetwork,
    conv_unit,
    resized,
    single_output,
)
from medssl.networks.images.pooling import AtrousPyramidPooling

RESNETS: dict[str, Config] = {
    "resnet18": {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]},
    "resnet50": {"depths": [3, 4, 6, 3]},
    "resnet101": {"depths": [3, 4, 23, 3]},
}
"""ResNets by name; their weights are ``microsoft/resnet-18``, ``-50`` and ``-101`` on the hub."""


class DeepLabV3Plus(ImageNetwork):
    """Atrous spatial pyramid pooling over a dilated ResNet, refined with its first stage.

    The decoder is that of CPS, ST++ and UniMatch: 256 channels, low-level maps reduced to 48, two 3x3
    convolutions, no dropout, a 1x1 classifier at stride 4, and logits brought to the image's size bilinearly
    with aligned corners. Their ResNet has a stem of three 3x3 convolutions and 123,776 parameters more
    (59.5 M printed for ResNet-101); the hub's weights, and so ours, have the 7x7 stem of He et al. (59.3 M).
    MONAI and transformers have no DeepLabV3+.

    ``context`` is the output of the pooling, at stride 16.

    Args:
        num_classes: classes ``K``.
        backbone: a name of :data:`RESNETS`, or arguments of ``transformers.ResNetConfig``.
        weights: of the backbone: a name on the hub, a folder, or None for random ones.
        in_channels: image channels.
        output_stride: of the last stage, 16 or 8.
        dilations: of the pooling's three 3x3 convolutions, as published for stride 16; Chen et al. double
            them for 8.
        channels: of pooling and decoder, 256 as published.
        low_level_channels: to which the first stage's maps are reduced, 48 as published.
        mean: of the channels; ImageNet's by default.
        std: of the channels; ImageNet's by default.

    Raises:
        InputError: an argument out of range; what
            :func:`~medssl.networks.images.backbones.build_backbone` raises.
    """

    backbone_modules = ("backbone",)
    initial_weights = ("weights",)
    backbone: Any  # transformers has no types here

    def __init__(
        self,
        num_classes: int,
        backbone: str | Config = "resnet101",
        *,
        weights: str | None = None,
        in_channels: int = 3,
        output_stride: int = 16,
        dilations: Sequence[int] = (6, 12, 18),
        channels: int = 256,
        low_level_channels: int = 48,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, mean, std)
        if output_stride not in (8, 16):
            raise InputError(f"output_stride={output_stride}", "not published", "give 16 or 8")
        config = named_config("backbone", backbone, RESNETS)
        self.backbone = build_backbone("ResNet", {**config, "num_channels": in_channels}, weights)
        dilate(self.backbone, output_stride)
        widths = self.backbone.config.hidden_sizes
        self.pooling = AtrousPyramidPooling(widths[-1], channels, dilations)
        self.reduce = conv_unit(widths[0], low_level_channels, 1)
        self.fuse = nn.Sequential(
            conv_unit(channels + low_level_channels, channels, 3), conv_unit(channels, channels, 3)
        )
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The first stage's maps at stride 4 and the last one's at the output stride."""
        stages = self.backbone(self.normalization(x), output_hidden_states=True).hidden_states
        return stages[1], stages[-1]

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Output:
        """Logits, the embeddings at stride 4 before the classifier, and the pooled pyramid."""
        low, high = maps
        context = self.pooling(high)
        features = self.fuse(torch.cat([self.reduce(low), resized(context, low.shape[2:])], 1))
        return single_output(resized(self.classifier(features), size), features, context)


def dilate(resnet: Any, output_stride: int) -> None:
    """Give a ResNet of transformers, which has no dilation, another output stride, in place.

    Convolutions that halve the grid in the last stage (stride 16), or in the last two (8), no longer do;
    every 3x3 convolution behind one is dilated twice as far, so that it sees what it saw: at every second
    pixel the output is that of the network as it was. Weights stay.

    Args:
        resnet: a ``transformers.ResNetModel``.
        output_stride: 16 or 8.
    """
    dilation = 1
    for stage in list(resnet.encoder.stages)[2 if output_stride == 8 else 3 :]:
        for block in stage.layers:
            for conv in _convolutions(block.shortcut):
                conv.stride = (1, 1)
            for conv in _convolutions(block.layer):
                if conv.kernel_size == (3, 3):
                    conv.dilation = conv.padding = (dilation, dilation)
                if conv.stride == (2, 2):
                    conv.stride = (1, 1)
                    dilation *= 2


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    """In the order in which they run."""
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]
