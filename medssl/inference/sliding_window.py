"""The windows of a prediction as a MONAI inferer, for the validation during training."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn

from medssl.inference.deployable import class_probabilities
from medssl.inference.windows import check_stride, stream_windows


class SlidingWindowProbabilities(Inferer):  # type: ignore[misc]
    """Mean softmax over windows on the network's grid, in two or three dimensions.

    Windows, precision and sums are those of :class:`medssl.inference.Predictor`, which scores and exports
    (:func:`~medssl.inference.windows.stream_windows`).

    Args:
        roi_size: the patch, one side per spatial axis; None predicts every image as a whole.
        stride: step between windows per axis, in voxels, from 1 to the patch; by default the patch.
        batch_size: windows a forward pass.
        channels_last: see :func:`~medssl.inference.deployable.class_probabilities`.
        amp: likewise.
        multiple: whole images are padded to multiples of this, such as the network's ``patch_multiple``.

    Raises:
        InputError: a stride outside its range.
    """

    def __init__(
        self,
        roi_size: Sequence[int] | None,
        *,
        stride: Sequence[int] | None = None,
        batch_size: int = 4,
        channels_last: bool = True,
        amp: Literal["off", "bf16"] = "off",
        multiple: int = 1,
    ) -> None:
        super().__init__()
        self.patch, self.multiple = roi_size, multiple
        self.stride = roi_size if stride is None else stride
        if self.patch is not None and self.stride is not None:
            check_stride(self.patch, self.stride)
        self.batch_size, self.channels_last, self.amp = batch_size, channels_last, amp

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Probabilities ``(B, K, *S)`` in float32 of images ``(B, C, *S)``.

        Args:
            inputs: images of any size.
            network: gives logits ``(B, K, *patch)``; should be in evaluation mode.
            args: not used; MONAI's evaluators may hand over more.
            kwargs: likewise.
        """
        images = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        whole = [math.ceil(side / self.multiple) * self.multiple for side in images.shape[2:]]
        patch, stride = self.patch or whole, self.stride or whole

        def forward(windows: Tensor) -> Tensor:
            return class_probabilities(network, windows, amp=self.amp, channels_last=self.channels_last)[0]

        means = [
            stream_windows(image, forward, patch=patch, stride=stride, batch_size=self.batch_size)
            for image in images
        ]
        return torch.stack(means).to(images.device, torch.float32)
