"""Whole volumes through a patch network: the literature's sliding window, and what makes it fast."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from medssl.engines.precision import autocast
from medssl.errors import InputError

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class SlidingWindowProbabilities(SlidingWindowInferer):  # type: ignore[misc]
    """Mean softmax over windows whose starts are multiples of a stride, the last one aligned to the border.

    The evaluation of UA-MT, MC-Net and TCSeg: ``ceil((size - patch) / stride) + 1`` windows an axis, starts
    ``min(stride * i, size - patch)``, every window counts alike, volumes smaller than the patch are padded
    with zeros. MONAI's inferer takes an overlap instead of a stride and averages what the network
    gives; this one sets the overlap that has these windows and turns logits into probabilities first.

    For the validation during training, on the network's grid, in two or three dimensions. Scores and exports
    come from :class:`medssl.engines.Predictor`: the same windows, padding and weights (tests compare them),
    added up in another order, so that values differ by float32 rounding, and taken back to the scan.

    Args:
        roi_size: the patch, one side per spatial axis.
        stride: step between windows per axis, in voxels; from 1 to the patch.
        batch_size: windows a forward pass.
        channels_last: hand the windows over in channels-last layout; faster convolutions.
        amp: ``"bf16"`` runs the network under autocast; probabilities are computed in float32.

    Raises:
        InputError: a stride outside its range.
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        *,
        stride: Sequence[int],
        batch_size: int = 4,
        channels_last: bool = True,
        amp: Literal["off", "bf16"] = "off",
    ) -> None:
        """Turn strides into MONAI's overlaps."""
        if len(stride) != len(roi_size) or any(
            not 0 < s <= p for s, p in zip(stride, roi_size, strict=False)
        ):
            raise InputError(
                f"stride {list(stride)}",
                f"not between 1 and the patch {list(roi_size)} on every axis",
                "give one stride per axis",
            )
        # MONAI truncates (1 - overlap) * patch; the half voxel keeps rounding from losing one.
        overlap = [max(0.0, 1 - (s + 0.5) / p) for s, p in zip(stride, roi_size, strict=True)]
        super().__init__(roi_size=list(roi_size), sw_batch_size=batch_size, overlap=overlap, mode="constant")
        self.channels_last, self.amp = channels_last, amp

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Probabilities ``(B, K, *S)`` in float32 of images ``(B, C, *S)``.

        Args:
            inputs: images of any size.
            network: gives logits ``(B, K, *patch)``; should be in evaluation mode.
            args: handed to the network.
            kwargs: likewise.
        """

        def probabilities(windows: Tensor, *more: Any, **named: Any) -> Tensor:
            windows = windows.as_subclass(Tensor)
            if self.channels_last:
                windows = windows.contiguous(memory_format=_FORMATS[windows.ndim])
            with autocast(windows.device, self.amp):
                logits = network(windows, *more, **named)
            return torch.softmax(logits.float(), 1)

        with torch.no_grad():
            averaged: Tensor = super().__call__(inputs, probabilities, *args, **kwargs)
        return averaged


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch norms are folded into the convolutions before them.

    Exact up to rounding; for inference only. Covers ``nn.Sequential`` of a convolution, or of modules that
    end in one, followed by a batch norm, as in :class:`medssl.networks.VNet`; any other batch norm stays, as
    does one without running statistics.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for index in range(len(module) - 1):
            owner, place = module, index
            while isinstance(inner := owner[place], nn.Sequential) and len(inner):
                owner, place = inner, len(inner) - 1
            conv, norm = owner[place], module[index + 1]
            if (
                isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
                and norm.running_mean is not None
                and isinstance(conv, nn.modules.conv._ConvNd)
            ):
                transposed = isinstance(conv, nn.modules.conv._ConvTransposeNd)
                if transposed and conv.groups > 1:
                    continue  # torch folds these along the wrong axis
                owner[place] = fuse_conv_bn_eval(conv, norm, transpose=transposed)
                module[index + 1] = nn.Identity()
    return folded


def deployable(network: nn.Module, *, channels_last: bool = True) -> nn.Module:
    """The network as inference wants it: evaluation mode, batch norms folded, channels-last weights."""
    ready = fold_batch_norm(network)
    if channels_last:
        for tensor in (*ready.parameters(), *ready.buffers()):
            if tensor.ndim in _FORMATS:
                tensor.data = tensor.data.contiguous(memory_format=_FORMATS[tensor.ndim])
    return ready
