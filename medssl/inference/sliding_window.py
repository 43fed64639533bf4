"""The windows of a prediction as a MONAI inferer, for the validation during training."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn

from medssl.inference.deployable import class_probabilities
from medssl.inference.fitting import Fitted
from medssl.inference.windows import check_stride, stream_windows
from medssl.networks import Fitting


class SlidingWindowProbabilities(Inferer):  # type: ignore[misc]
    """Mean softmax over windows on the network's grid, or over whole images, in two or three dimensions.

    Windows, precision and sums are those of :class:`medssl.inference.Predictor`, which scores and exports
    (:func:`~medssl.inference.windows.stream_windows`).

    Args:
        roi_size: the patch, one side per spatial axis; None predicts every image as a whole.
        stride: step between windows per axis, in voxels, from 1 to the patch; None, too, predicts every
            image as a whole.
        batch_size: windows a forward pass.
        channels_last: see :func:`~medssl.inference.deployable.class_probabilities`.
        amp: likewise.
        multiple: whole images are brought to multiples of this, the network's ``patch_multiple``.
        fitting: how, the network's ``fitting``: see :class:`~medssl.inference.fitting.Fitted`.

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
        multiple: int | Sequence[int] = 1,
        fitting: Fitting = "pad",
    ) -> None:
        super().__init__()
        self.windows = None if roi_size is None or stride is None else (roi_size, stride)
        if self.windows is not None:
            check_stride(*self.windows)
        self.multiple, self.fitting = multiple, fitting
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
        patch, stride = self.windows or (images.shape[2:], images.shape[2:])
        ready = Fitted(network, multiple=self.multiple, fitting=self.fitting)

        def forward(windows: Tensor) -> Tensor:
            return class_probabilities(ready, windows, amp=self.amp, channels_last=self.channels_last)[0]

        means = [
            stream_windows(image, forward, patch=patch, stride=stride, batch_size=self.batch_size)
            for image in images
        ]
        return torch.stack(means).to(images.device, torch.float32)
