"""Perturbation of an encoder's maps: whole channels are dropped, each image's by itself."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def drop_channels(
    maps: Sequence[Tensor], rng: np.random.Generator, *, probability: float = 0.5
) -> tuple[Tensor, ...]:
    """The maps ``(B, C_i, *S_i)`` with dropped channels, the others scaled to keep the mean (UniMatch).

    Every map has draws of its own. torch's channel dropout draws from the global generator; this draws from
    ``rng``, so that a step's draws depend on its number alone.

    Args:
        maps: of an encoder.
        rng: source of randomness.
        probability: of a channel to be dropped, in [0, 1).
    """
    masks = [(rng.random(features.shape[:2]) >= probability) / (1 - probability) for features in maps]
    return _scaled(maps, masks)


def drop_complementary_channels(
    maps: Sequence[Tensor], rng: np.random.Generator, *, kept: float = 0.5
) -> tuple[Tensor, ...]:
    """Two views of the same images, of which one keeps the channels that the other drops (UniMatch V2).

    A channel has the factor 2 in one view and 0 in the other. ``floor(kept * B)`` of the ``B`` pairs, drawn
    at random, are left as they are. Maps with the same number of channels have the same factors: those of a
    transformer's layers, which the published network has, all do.

    Args:
        maps: of an encoder, ``(2 B, C_i, *S_i)``: the first views, and behind them the second ones.
        rng: source of randomness.
        kept: share of pairs that are left as they are.
    """
    pairs = len(maps[0]) // 2
    intact = rng.permutation(pairs)[: int(pairs * kept)]
    factors: dict[int, np.ndarray] = {}
    for channels in (features.shape[1] for features in maps):
        if channels not in factors:
            first = (rng.random((pairs, channels)) < 0.5) * 2.0
            first[intact] = 1
            factors[channels] = np.concatenate([first, 2 - first])
    return _scaled(maps, [factors[features.shape[1]] for features in maps])


def _scaled(maps: Sequence[Tensor], factors: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
    return tuple(
        features * torch.from_numpy(factor).to(features).view(*factor.shape, *[1] * (features.ndim - 2))
        for features, factor in zip(maps, factors, strict=True)
    )
