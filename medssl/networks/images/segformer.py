"""SegFormer (Xie et al. 2021), the network of AllSpark."""

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

_WIDE = [64, 128, 320, 512]
MIT: dict[str, Config] = {
    "b0": {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "b1": {"hidden_sizes": _WIDE, "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "b2": {"hidden_sizes": _WIDE, "depths": [3, 4, 6, 3], "decoder_hidden_size": 768},
    "b3": {"hidden_sizes": _WIDE, "depths": [3, 4, 18, 3], "decoder_hidden_size": 768},
    "b4": {"hidden_sizes": _WIDE, "depths": [3, 8, 27, 3], "decoder_hidden_size": 768},
    "b5": {"hidden_sizes": _WIDE, "depths": [3, 6, 40, 3], "decoder_hidden_size": 768},
}
"""Mix transformers by size; their weights are ``nvidia/mit-b0`` to ``-b5`` on the hub."""

SMALLEST_SIDE = 32  # pixels; below, the first stage's grid is smaller than the window of its attention


class SegFormer(ImageNetwork):
    """A hierarchical transformer and a head of linear layers.

    Each of the four stages is projected to one width and brought to stride 4; a 1x1 convolution, batch norm
    and ReLU fuse them; dropout, a 1x1 classifier, and logits at the image's size, bilinearly. transformers
    has the same head (``SegformerForSemanticSegmentation``), which does not show what comes before the
    classifier.

    ``context`` is the last stage's output, at stride 32. Images of any size of at least 32 pixels a side.

    Args:
        num_classes: classes ``K``.
        size: a name of :data:`MIT`, or arguments of ``transformers.SegformerConfig``; the width of
            the head is its ``decoder_hidden_size``, the dropout its ``classifier_dropout_prob``.
        weights: of the backbone: a name on the hub, a folder, or None for random ones.
        in_channels: image channels.
        mean: of the channels; ImageNet's by default.
        std: of the channels; ImageNet's by default.

    Raises:
        InputError: what :func:`~medssl.networks.images.backbones.build_backbone` raises.
    """

    backbone_modules = ("backbone",)
    initial_weights = ("weights",)
    backbone: Any  # transformers has no types here

    def __init__(
        self,
        num_classes: int,
        size: str | Config = "b0",
        *,
        weights: str | None = None,
        in_channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, mean, std)
        config = named_config("size", size, MIT)
        self.backbone = build_backbone("Segformer", {**config, "num_channels": in_channels}, weights)
        built = self.backbone.config
        widths, width = built.hidden_sizes, built.decoder_hidden_size
        # A linear layer on every token is a 1x1 convolution on the map.
        self.projections = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in widths)
        self.fuse = conv_unit(len(widths) * width, width, 1)
        self.dropout = nn.Dropout(built.classifier_dropout_prob)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the four stages, at strides 4, 8, 16 and 32.

        Raises:
            InputError: an image below 32 pixels a side.
        """
        if min(x.shape[2:]) < SMALLEST_SIDE:
            listed = "x".join(map(str, x.shape[2:]))
            raise InputError(f"images of {listed}", "too small for SegFormer", f"give {SMALLEST_SIDE} a side")
        return tuple(self.backbone(self.normalization(x), output_hidden_states=True).hidden_states)

    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Output:
        """Logits, the fused embeddings at stride 4 before dropout and classifier, and the last stage."""
        grid = maps[0].shape[2:]
        levels = [
            resized(projection(level), grid, align_corners=False)
            for projection, level in zip(self.projections, maps, strict=True)
        ]
        features = self.fuse(torch.cat(levels, 1))
        logits = self.classifier(self.dropout(features))
        return single_output(resized(logits, size, align_corners=False), features, maps[-1])
