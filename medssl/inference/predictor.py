"""One scan or image through one trained network or several: labels, and maps of how far to believe them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.data.reading.orientation import ScanGrid, scan_grid
from medssl.inference.deployable import class_probabilities
from medssl.inference.scan_grid import complete_probabilities, slabs_on_scan_grid
from medssl.inference.temperature import tempered
from medssl.inference.windows import (
    WindowWeights,
    check_stride,
    storage_dtype,
    stream_windows,
    window_starts,
)
from medssl.reliability import disagreement, entropy

Uncertainty = Literal["entropy", "dual-axis", "ensemble"]

FORMULAS = {
    "confidence": "max_k p_k",
    "uncertainty": "-sum_k p_k ln p_k / ln K",
    "dual-axis": "max_k |p1_k - p2_k| between the two decoders, mean over members",
    "ensemble": "max_k |a_k - b_k|, mean over the pairs of ensemble members",
}
"""What the maps hold; p is the mean of decoder 1's softmax over windows, flips and members."""


@dataclass(frozen=True)
class Prediction:
    """What a predictor says about one scan or image, on the voxels or pixels of its file.

    Attributes:
        labels: ``(*S)`` uint8; uint16 above 256 classes. ``*S`` is ``(X, Y, Z)``, of an image ``(H, W)``.
        confidence: ``(*S)`` in [1 / K, 1], largest class probability.
        uncertainty: ``(*S)`` in [0, 1], entropy over ln K.
        disagreement: ``(*S)`` in [0, 1], between decoders or members; None where it was not asked for.
        probabilities: ``(K, *S)``; None where they were not asked for.
        soft_overlap: for each class, the first included, ``2 sum(p m) / (sum p + sum m)`` with the predicted
            mask m: the Dice that the probabilities expect, in [0, 1]; NaN where the mask is empty.
        bands: by class id ``(*S)`` uint8, the zones around its boundary, where a calibration promises what
            they hold; a predictor gives none, and :mod:`medssl.review` adds them.

    The maps are float32, or float16 for volumes above :data:`medssl.inference.windows.HALF_ABOVE`.
    """

    labels: NDArray[np.uint8] | NDArray[np.uint16]
    confidence: NDArray[np.floating]
    uncertainty: NDArray[np.floating]
    disagreement: NDArray[np.floating] | None
    probabilities: NDArray[np.floating] | None
    soft_overlap: tuple[float, ...]
    bands: Mapping[int, NDArray[np.uint8]] | None = None


class Predictor:
    """Prediction of scans and images, by sliding windows or as a whole, with test-time options.

    Args:
        networks: one network or the members of an ensemble, in evaluation mode. They give logits
            ``(B, K, *S)``, or a :class:`~medssl.networks.Output` for ``"dual-axis"``.
        num_classes: classes ``K``.
        patch: window, three sides in voxels of the network's grid, in 2D two.
        stride: step between windows; None predicts every image as a whole.
        batch_size: windows at once.
        weights: see :func:`~medssl.inference.windows.stream_windows`.
        flips: axes to flip, such as ``((0,), (1,), (0, 1))``; probabilities are averaged over these and the
            window as it is.
        uncertainty: ``"entropy"`` alone, or with a second map: disagreement of both decoders
            (``"dual-axis"``) or of the members (``"ensemble"``).
        keep_probabilities: return those of every class as well.
        temperature: see :func:`medssl.inference.temperature.tempered`.
        amp: ``"bf16"`` runs the networks under autocast.
        channels_last: hand windows over in channels-last layout.
        device: where the networks are.

    Raises:
        InputError: an ensemble of one, no network, or a stride outside its range.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        *,
        num_classes: int,
        patch: Sequence[int],
        stride: Sequence[int] | None,
        batch_size: int = 4,
        weights: WindowWeights = "constant",
        flips: Sequence[Sequence[int]] = (),
        uncertainty: Uncertainty = "entropy",
        keep_probabilities: bool = False,
        temperature: float = 1.0,
        amp: Literal["off", "bf16"] = "off",
        channels_last: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        if not networks or (uncertainty == "ensemble" and len(networks) < 2):
            raise InputError(
                f"{len(networks)} checkpoint(s)",
                "too few for what was asked",
                "an ensemble needs at least two",
            )
        self.patch, self.stride = tuple(patch), None if stride is None else tuple(stride)
        if self.stride is not None:
            check_stride(self.patch, self.stride)
        self.networks, self.num_classes = list(networks), num_classes
        self.batch_size, self.weights, self.temperature = batch_size, weights, temperature
        # The axes of a batch of windows: 0 and 1 are not spatial.
        self.flips = [(), *(tuple(axis + 2 for axis in axes) for axes in flips)]
        self.uncertainty: Uncertainty = uncertainty
        self.keep_probabilities = keep_probabilities
        self.amp, self.channels_last, self.device = amp, channels_last, torch.device(device)

    @property
    def channels(self) -> int:
        """What is stored of every voxel: the classes, and the disagreement."""
        return self.num_classes + (self.uncertainty != "entropy")

    def windows(self, size: Sequence[int]) -> int:
        """Number of windows of a volume, or image, on the network's grid."""
        if self.stride is None:
            return 1
        pairs = zip(size, self.patch, self.stride, strict=True)
        return math.prod(len(window_starts(max(s, p), p, t)) for s, p, t in pairs)

    @torch.no_grad()
    def __call__(
        self,
        image: MetaTensor,
        *,
        advance: Callable[[int], object] | None = None,
    ) -> Prediction:
        """Predict one scan.

        Args:
            image: the preprocessed scan, or image, ``(C, *S)``, whose metadata say what was done to it: see
                :func:`medssl.data.reading.orientation.scan_grid`.
            advance: called with the number of windows done.

        Raises:
            InputError: the network gives another number of classes, or is for images of other axes.
        """
        values = self.on_network_grid(image, advance=advance)
        return self._on_scan(values, np.asarray(image.affine, np.float64), scan_grid(image))

    def on_network_grid(self, image: MetaTensor, *, advance: Callable[[int], object] | None = None) -> Tensor:
        """Mean probabilities over windows, and the disagreement, before they go back to the scan.

        Args:
            image: see :meth:`__call__`.
            advance: likewise.

        Returns:
            ``(channels, *S)`` on the CPU, untempered.
        """
        size = image.shape[1:]
        if len(size) != len(self.patch):
            raise InputError(
                image.meta.get("filename_or_obj", "image"),
                f"has {len(size)} axes, the model is for {len(self.patch)}",
                "give files of the kind that it was trained with",
            )
        return stream_windows(
            image.as_tensor(),
            self._forward,
            patch=size if self.stride is None else self.patch,
            stride=self.stride or size,
            batch_size=self.batch_size,
            weights=self.weights,
            advance=advance,
        )

    def _forward(self, windows: Tensor) -> Tensor:
        """Mean probabilities of decoder 1, and the disagreement where it is asked for."""
        windows = windows.to(self.device)
        members = [self._views(network, windows) for network in self.networks]
        first = [views[0] for views in members]
        mean = torch.stack(first).mean(0)
        if self.uncertainty == "entropy":
            return mean
        pairs = list(combinations(first, 2)) if self.uncertainty == "ensemble" else members
        apart = torch.stack([disagreement(a, b, norm="max") for a, b in pairs]).mean(0)
        return torch.cat([mean, apart.unsqueeze(1)], 1)

    def _views(self, network: nn.Module, windows: Tensor) -> tuple[Tensor, ...]:
        """Probabilities of one member's decoders, each averaged over the flips."""
        sums: list[Tensor] = []
        for axes in self.flips:
            turned = windows.flip(axes) if axes else windows
            decoders = class_probabilities(network, turned, amp=self.amp, channels_last=self.channels_last)
            if self.uncertainty == "dual-axis" and len(decoders) < 2:
                raise InputError(
                    "uncertainty=dual-axis", "the network has one decoder", "use entropy, or an ensemble"
                )
            if decoders[0].shape[1] != self.num_classes:
                raise InputError(
                    f"num_classes={self.num_classes}",
                    f"the network gives {decoders[0].shape[1]}",
                    "give the number it was trained with",
                )
            for index, probs in enumerate(decoders):
                probs = probs.flip(axes) if axes else probs
                if len(sums) <= index:
                    sums.append(probs)
                else:
                    sums[index] = sums[index] + probs
        return tuple(total / len(self.flips) for total in sums)

    def _on_scan(self, values: Tensor, network_affine: NDArray[np.float64], grid: ScanGrid) -> Prediction:
        """Resample slab by slab and derive the maps.

        All of it in the order of the network's axes, so that no sum and no rounding depends on the order in
        which the file stores the voxels; what is written goes through views of the stored arrays.
        """
        classes, shape = self.num_classes, grid.stored_shape
        numpy_dtype = np.float32 if values.dtype == torch.float32 else np.float16
        labels = np.empty(shape, np.uint8 if classes <= 256 else np.uint16)
        confidence, uncertainty = np.empty(shape, numpy_dtype), np.empty(shape, numpy_dtype)
        apart = np.empty(shape, numpy_dtype) if self.channels > classes else None
        probabilities = None
        if self.keep_probabilities:
            dtype = storage_dtype(classes, math.prod(shape))
            probabilities = np.empty((classes, *shape), np.float32 if dtype == torch.float32 else np.float16)
        oriented = grid.order.oriented
        both, mass, size = (np.zeros(classes) for _ in range(3))
        outside = [1.0] + [0.0] * (self.channels - 1)  # background, and no disagreement about it
        for slab, part in slabs_on_scan_grid(
            values, network_affine=network_affine, scan_affine=grid.affine, shape=grid.shape, outside=outside
        ):
            untempered = complete_probabilities(part[:classes])
            winner = untempered.argmax(0)  # a temperature may round two classes to one value
            probs = tempered(untempered, self.temperature)
            top = probs.gather(0, winner.unsqueeze(0))[0]
            oriented(labels)[slab], oriented(confidence)[slab] = winner.numpy(), top.numpy()
            spread = (entropy(probs.unsqueeze(0))[0] / math.log(classes)).clamp(0, 1)
            oriented(uncertainty)[slab] = spread.numpy()
            if apart is not None:
                oriented(apart)[slab] = part[classes].clamp(0, 1).numpy()
            if probabilities is not None:
                oriented(probabilities)[:, slab] = probs.numpy()
            both += np.bincount(
                winner.flatten().numpy(), weights=top.flatten().double().numpy(), minlength=classes
            )
            size += np.bincount(winner.flatten().numpy(), minlength=classes)
            mass += probs.flatten(1).sum(1, dtype=torch.float64).numpy()
        overlap = np.where(size > 0, 2 * both / np.maximum(mass + size, 1e-12), np.nan)
        return Prediction(
            labels, confidence, uncertainty, apart, probabilities, tuple(float(v) for v in overlap)
        )
