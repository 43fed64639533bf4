"""Atrous spatial pyramid pooling (Chen et al. 2017, DeepLabV3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.networks.images.base import conv_unit


class AtrousPyramidPooling(nn.Module):
    """A 1x1 and three dilated 3x3 convolutions and the image's mean, side by side, then projected.

    Args:
        inputs: channels that come in.
        channels: of each branch and of the output.
        dilations: of the 3x3 convolutions.
    """

    def __init__(self, inputs: int, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_unit(inputs, channels, 1)]
            + [conv_unit(inputs, channels, 3, dilation=dilation) for dilation in dilations]
        )
        self.image = conv_unit(inputs, channels, 1)
        self.project = conv_unit((len(dilations) + 2) * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, C, h, w)`` to ``(B, channels, h, w)``.

        Raises:
            InputError: a training step on one image, whose mean has nothing to be normalised over. Batch
                norms that are synchronised between processes have the other processes' images.
        """
        if self.training and len(x) == 1 and isinstance(self.image[1], nn.BatchNorm2d):
            raise InputError(
                "a batch of one image", "the pooled mean is normalised over images", "train on two or more"
            )
        mean = self.image(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[2:])
        branches = [branch(x) for branch in self.branches]
        pyramid: Tensor = self.project(torch.cat([*branches, mean], 1))
        return pyramid
