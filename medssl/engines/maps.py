"""From probabilities to what is shown: label map, confidence and uncertainty in the input's geometry."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from medssl.reliability import confidence, entropy


def complete_probabilities(probs: Tensor) -> Tensor:
    """Probabilities that sum to 1 again after resampling and un-cropping.

    Undoing a crop fills what was cut away with zeros in every class, and interpolation at its edge mixes
    with them: a voxel that has less than half of its mass is background, any other is normalised.

    Args:
        probs: ``(K, *S)``, background first, sums in [0, 1] up to rounding.

    Returns:
        ``(K, *S)`` float32.
    """
    probs = probs.float().clamp(min=0)
    total = probs.sum(0, keepdim=True)
    background = torch.zeros_like(probs)
    background[0] = 1
    return torch.where(total < 0.5, background, probs / total.clamp(min=0.5))


class DeriveMapsd(MapTransform):  # type: ignore[misc]
    """Label map, confidence and uncertainty from the probabilities of a case.

    Inverted once, as probabilities: inverting a label map by nearest neighbour would disagree with it.
    Adds ``label_map`` uint8 ``(1, *S)`` (int32 above 256 classes), ``confidence`` float32 ``(1, *S)`` in
    ``[1/K, 1]``: the largest probability, and ``uncertainty`` float32 ``(1, *S)`` in ``[0, 1]``: entropy over
    ``ln K``. The probabilities under the key are replaced by completed ones.

    Args:
        keys: key of the probabilities ``(K, *S)``.
        allow_missing_keys: pass items that lack it.
    """

    def __init__(self, keys: KeysCollection = "pred", *, allow_missing_keys: bool = False) -> None:
        """Choose the key."""
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Derive the maps."""
        item = dict(data)
        for key in self.key_iterator(item):
            given = item[key]
            probs = complete_probabilities(given.as_tensor() if isinstance(given, MetaTensor) else given)
            views = probs.unsqueeze(0)
            dtype = torch.uint8 if len(probs) <= 256 else torch.int32
            item[key] = probs
            item["label_map"] = probs.argmax(0, keepdim=True).to(dtype)
            item["confidence"] = confidence([views])
            item["uncertainty"] = (entropy(views) / math.log(len(probs))).clamp(0, 1)
        return item
