"""Whole volumes through a patch network: the literature's sliding window, and what makes it fast."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor

from medssl.common.errors import InputError
from medssl.common.precision import autocast
from medssl.inference.deployable import MEMORY_FORMATS


class SlidingWindowProbabilities(SlidingWindowInferer):  # type: ignore[misc]
    """Mean softmax over windows whose starts are multiples of a stride, the last one aligned to the border.

    The evaluation of UA-MT, MC-Net and TCSeg: ``ceil((size - patch) / stride) + 1`` windows an axis, starts
    ``min(stride * i, size - patch)``, every window counts alike, volumes smaller than the patch are padded
    with zeros. MONAI's inferer takes an overlap instead of a stride and averages what the network
    gives; this one sets the overlap that has these windows and turns logits into probabilities first.

    For the validation during training, on the network's grid, in two or three dimensions. Scores and exports
    come from :class:`medssl.inference.Predictor`: the same windows, padding and weights (tests compare them),
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
                windows = windows.contiguous(memory_format=MEMORY_FORMATS[windows.ndim])
            with autocast(windows.device, self.amp):
                logits = network(windows, *more, **named)
            return torch.softmax(logits.float(), 1)

        with torch.no_grad():
            averaged: Tensor = super().__call__(inputs, probabilities, *args, **kwargs)
        return averaged
