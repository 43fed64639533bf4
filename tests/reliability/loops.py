"""The equations once more, written as loops over voxels in Python floats: slow, and independent."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def voxels(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(n) for n in shape))


def at(x: Tensor, b: int, k: int, v: tuple[int, ...]) -> float:
    return float(x[(b, k, *v)])


def per_voxel(like: Tensor, value) -> Tensor:
    """``value(b, v)`` at every voxel of ``like`` (B, K, *S)."""
    out = torch.zeros(like.shape[0], *like.shape[2:], dtype=torch.float64)
    for b in range(like.shape[0]):
        for v in voxels(like.shape[2:]):
            out[(b, *v)] = value(b, v)
    return out


def mean_probability(views: Sequence[Tensor], b: int, k: int, v: tuple[int, ...]) -> float:
    return sum(at(view, b, k, v) for view in views) / len(views)


def confidence(views: Sequence[Tensor]) -> Tensor:
    classes = range(views[0].shape[1])
    return per_voxel(views[0], lambda b, v: max(mean_probability(views, b, k, v) for k in classes))


def disagreement(a: Tensor, b: Tensor, norm: str) -> Tensor:
    combine = {"l1": sum, "max": max}[norm]
    return per_voxel(
        a, lambda i, v: combine([abs(at(a, i, k, v) - at(b, i, k, v)) for k in range(a.shape[1])])
    )


def entropy(probs: Tensor) -> Tensor:
    def value(b: int, v: tuple[int, ...]) -> float:
        ps = [at(probs, b, k, v) for k in range(probs.shape[1])]
        return -sum(p * math.log(p) for p in ps if p > 0)

    return per_voxel(probs, value)


def class_prototypes(features: Tensor, probs: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    batch, channels = features.shape[:2]
    classes = probs.shape[1]
    prototypes = torch.zeros(batch, classes, channels, dtype=torch.float64)
    present = torch.zeros(batch, classes, dtype=torch.bool)
    for b in range(batch):
        for k in range(classes):
            members = []
            for v in voxels(probs.shape[2:]):
                ps = [at(probs, b, j, v) for j in range(classes)]
                if ps.index(max(ps)) == k and (keep is None or bool(keep[(b, *v)])):
                    members.append(v)
            present[b, k] = bool(members)
            for c in range(channels):
                if members:
                    prototypes[b, k, c] = sum(at(features, b, c, v) for v in members) / len(members)
    return prototypes, present


def prototype_affinity(features: Tensor, prototypes: Tensor) -> Tensor:
    batch, channels = features.shape[:2]
    out = torch.zeros(batch, prototypes.shape[1], *features.shape[2:], dtype=torch.float64)
    for b in range(batch):
        for k in range(prototypes.shape[1]):
            q = [float(x) for x in prototypes[b, k]]
            for v in voxels(features.shape[2:]):
                f = [at(features, b, c, v) for c in range(channels)]
                dot = sum(x * y for x, y in zip(q, f, strict=True))
                lengths = [max(math.sqrt(sum(x * x for x in u)), 1e-8) for u in (q, f)]
                out[(b, k, *v)] = dot / (lengths[0] * lengths[1])
    return out


def dual_axis(
    views: Sequence[Tensor],
    probability_pairs: Sequence[tuple[Tensor, Tensor]],
    feature_pairs: Sequence[tuple[Tensor, Tensor]],
    *,
    tau: float,
    feature_tau: float,
    tau_min: float,
    tau_max: float,
    norm: str,
    use_confidence: bool = True,
    use_uncertainty: bool = True,
) -> dict[str, Tensor]:
    """The sets of eq. 11-13 and 16, each from its own definition."""
    size = confidence(views)
    distances = [(disagreement(a, b, norm), tau) for a, b in probability_pairs]
    distances += [(disagreement(a, b, norm), feature_tau) for a, b in feature_pairs]
    positive = torch.zeros(size.shape, dtype=torch.bool)
    unreliable = torch.zeros(size.shape, dtype=torch.bool)
    negative = torch.zeros(views[0].shape, dtype=torch.bool)
    uncertainty = torch.zeros(size.shape, dtype=torch.float64)
    for i in voxels(size.shape):
        high = float(size[i]) >= tau_max or not use_confidence
        certain = all(float(d[i]) <= t for d, t in distances) or not use_uncertainty
        uncertainty[i] = max([float(d[i]) / t for d, t in distances], default=0.0)
        positive[i] = high and certain
        unreliable[i] = (not high) or (high and not certain)
        for k in range(views[0].shape[1]):
            low = mean_probability(views, i[0], k, i[1:]) <= tau_min
            negative[(i[0], k, *i[1:])] = certain and low and use_confidence
    return {
        "confidence": size,
        "uncertainty": uncertainty,
        "positive": positive,
        "negative": negative,
        "unreliable": unreliable,
    }


def dilate(mask: Tensor, structure: Tensor) -> Tensor:
    """Every set voxel stamps the structure, whose origin is cell ``side // 2``; one sample."""
    out = torch.zeros_like(mask)
    for v in voxels(mask.shape):
        if mask[v]:
            for cell in voxels(structure.shape):
                w = tuple(i + c - s // 2 for i, c, s in zip(v, cell, structure.shape, strict=True))
                if structure[cell] and inside(w, mask.shape):
                    out[w] = True
    return out


def close(mask: Tensor, side: int) -> Tensor:
    """Dilation, then erosion, with a full structure; outside is unset both times."""
    dilated = dilate(mask, torch.ones((side,) * mask.ndim, dtype=torch.bool))
    reach = range(-(side // 2), side // 2 + 1)
    out = torch.zeros_like(mask)
    for v in voxels(mask.shape):
        around = [
            tuple(i + o for i, o in zip(v, offset, strict=True))
            for offset in itertools.product(reach, repeat=mask.ndim)
        ]
        out[v] = all(inside(w, mask.shape) and bool(dilated[w]) for w in around)
    return out


def components(mask: Tensor) -> list[set[tuple[int, ...]]]:
    """Face-connected components of one sample by flood fill, in the order of their first voxels."""
    left = {v for v in voxels(mask.shape) if mask[v]}
    pieces = []
    for start in voxels(mask.shape):
        if start not in left:
            continue
        left.discard(start)
        piece, frontier = {start}, [start]
        while frontier:
            v = frontier.pop()
            for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
                w = tuple(i + step * (a == axis) for a, i in enumerate(v))
                if w in left:
                    left.discard(w)
                    piece.add(w)
                    frontier.append(w)
        pieces.append(piece)
    return pieces


def largest_component(mask: Tensor) -> Tensor:
    out = torch.zeros_like(mask)
    for v in max(components(mask), key=len, default=set()):  # max keeps the first of equals
        out[v] = True
    return out


def inside(v: Sequence[int], shape: Sequence[int]) -> bool:
    return all(0 <= i < n for i, n in zip(v, shape, strict=True))
