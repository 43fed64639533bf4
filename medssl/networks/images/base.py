"""What networks of images have in common: RGB in [0, 1] comes in, logits of the image's own size go out."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.networks.base import EncoderDecoder, Output

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalization(nn.Module):
    """Subtract a mean and divide by a deviation, channel by channel.

    Part of the network, so that augmentation, corruption and prediction all see images in [0, 1]. The two are
    arguments of the network, not weights: a state dict does not hold them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(B, C, H, W)``, normalised."""
        return (x - self.mean) / self.std


class ImageNetwork(EncoderDecoder):
    """A segmentation network of images ``(B, C, H, W)`` in [0, 1].

    Args:
        num_classes: classes ``K``, background included.
        in_channels: image channels.
        mean: of each channel over the images that the weights were pretrained on; None for ImageNet's, which
            of other than three channels is its mean over the colours, in each.
        std: deviation of each channel, likewise.
    """

    spatial_axes = 2

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"num_classes={num_classes}", "out of range", "give an integer of at least 2")
        mean = _imagenets(IMAGENET_MEAN, in_channels) if mean is None else mean
        std = _imagenets(IMAGENET_STD, in_channels) if std is None else std
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != in_channels:
                fault = f"has {len(values)} numbers for in_channels={in_channels}"
                raise InputError(f"{name} {list(values)}", fault, "give one number a channel")
        if min(std) <= 0:
            raise InputError(f"std {list(std)}", "not above 0", "give the deviation of each channel")
        self.normalization = Normalization(mean, std)


def _imagenets(colors: Sequence[float], in_channels: int) -> Sequence[float]:
    """A number of each colour as one of each channel; channels that are no RGB have the mean of the three."""
    return colors if in_channels == len(colors) else [sum(colors) / len(colors)] * in_channels


def resized(x: Tensor, size: Sequence[int], *, align_corners: bool = True) -> Tensor:
    """Maps ``(B, C, h, w)`` on another grid, bilinearly; as they are where they lie on it already."""
    if x.shape[2:] == torch.Size(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=align_corners)


def conv_unit(inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; with stride 1 the grid stays."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def single_output(logits: Tensor, features: Tensor, context: Tensor) -> Output:
    """The output of a network with one decoder."""
    return Output((logits,), (features,), (context,))
