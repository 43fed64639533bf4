"""Class prototypes and what is near to them: the feature space as a second opinion.

Both functions are matrix products over the voxels. The broadcast form of the equations, and
``torch.nn.functional.cosine_similarity`` with it, would hold ``(B, K, C, *S)`` in memory.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medssl.reliability.measures import full_precision

EPS = 1e-8


def class_prototypes(
    features: Tensor, probs: Tensor, keep: Tensor | None = None, *, fallback: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean embedding of each predicted class, sample by sample (TCSeg eq. 10).

    A voxel belongs to the class that is most probable in ``probs``. Gradients flow to ``features``
    alone: which class a voxel belongs to has none.

    Args:
        features: embeddings ``(B, C, *S)``.
        probs: probabilities ``(B, K, *S)``.
        keep: bool ``(B, *S)``, the voxels that count; all of them where None.
        fallback: average over all voxels of a class of which no voxel is kept, instead of none.

    Returns:
        The prototypes ``(B, K, C)``, zero where a class has no voxel to average, and bool ``(B, K)``: which
        classes have one.

    Raises:
        ValueError: where the shapes do not belong together or ``keep`` is not bool.
    """
    if features.ndim < 3 or probs.ndim != features.ndim or _grid(features) != _grid(probs):
        raise ValueError(
            "features (B, C, *S) and probs (B, K, *S) must share B and *S, "
            f"got {tuple(features.shape)} and {tuple(probs.shape)}"
        )
    if keep is not None and (keep.dtype is not torch.bool or tuple(keep.shape) != _grid(probs)):
        raise ValueError(f"keep must be bool {_grid(probs)}, got {keep.dtype} {tuple(keep.shape)}")
    with torch.autocast(features.device.type, enabled=False):
        embeddings = full_precision(features).flatten(2)
        labels = probs.detach().max(1, keepdim=True).indices.flatten(2)
        classes = torch.arange(probs.shape[1], device=probs.device).view(1, -1, 1)
        members = labels == classes
        if keep is not None:
            kept = members & keep.flatten(1).unsqueeze(1)
            # A class without a kept voxel takes all of its voxels: one product whichever it is, no host sync.
            members = torch.where(kept.any(2, keepdim=True), kept, members) if fallback else kept
        weights = members.to(embeddings.dtype)
        counts = weights.sum(2, keepdim=True)
        return weights @ embeddings.transpose(1, 2) / counts.clamp_min(1), counts.squeeze(2) > 0


def prototype_affinity(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine similarity of every voxel's embedding to every prototype (TCSeg eq. 9).

    Norms below 1e-8 count as 1e-8, in the gradient, too, as in ``torch.nn.functional.cosine_similarity``,
    which the published code calls. A zero vector, such as the prototype of a class that no voxel has, gives
    0; the gradient that it receives is large, and dies where zeros come from: in a ReLU, in the mean over no
    voxel.

    Args:
        features: embeddings ``(B, C, *S)``.
        prototypes: ``(B, K, C)``, not necessarily of unit length.

    Returns:
        ``(B, K, *S)`` in [-1, 1] up to rounding; differentiable in both arguments.

    Raises:
        ValueError: where the shapes do not belong together.
    """
    if features.ndim < 3 or prototypes.ndim != 3 or prototypes.shape[::2] != features.shape[:2]:
        raise ValueError(
            "features (B, C, *S) and prototypes (B, K, C) must share B and C, "
            f"got {tuple(features.shape)} and {tuple(prototypes.shape)}"
        )
    with torch.autocast(features.device.type, enabled=False):
        embeddings = full_precision(features).flatten(2).transpose(1, 2)
        directions = full_precision(prototypes)
        directions = directions * inverse_norm(directions, dim=2)
        products: Tensor = _Cosines.apply(embeddings, directions)  # type: ignore[no-untyped-call]
        cosines = products.transpose(1, 2)
    return cosines.reshape(*cosines.shape[:2], *features.shape[2:])


class _Cosines(torch.autograd.Function):
    """Products with unit vectors over the length of the embedding: ``(B, N, C), (B, K, C) -> (B, N, K)``.

    Autograd's own backward makes two more tensors of the embeddings' size and, for channels-last
    embeddings, in the other memory layout: three times slower on a CPU. This one keeps their layout.
    """

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, directions: Tensor) -> Tensor:
        """The cosines; in the memory layout of the embeddings."""
        inverse = inverse_norm(embeddings, dim=2)
        if embeddings.is_contiguous():
            cosines = embeddings @ directions.transpose(1, 2)
        else:
            cosines = (directions @ embeddings.transpose(1, 2)).transpose(1, 2)
        cosines = cosines * inverse
        ctx.save_for_backward(embeddings, directions, inverse, cosines)
        return cosines

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """With r the inverse length and q the cosines: ``r (g d - e r sum_k g_k q_k)`` and ``r g' e``."""
        embeddings, directions, inverse, cosines = ctx.saved_tensors
        gradient = gradients[0] * inverse
        if embeddings.is_contiguous():
            gradient = gradient.contiguous()  # a mixture of layouts would slow the products below
        radial = (gradient * cosines).sum(2, keepdim=True) * inverse
        radial = torch.where(inverse < (1 - 1e-6) / EPS, radial, 0)  # a clamped length is constant
        towards = embeddings * -radial
        if embeddings.is_contiguous():
            towards.baddbmm_(gradient, directions)
        else:
            towards.transpose(1, 2).baddbmm_(directions.transpose(1, 2), gradient.transpose(1, 2))
        return towards, gradient.transpose(1, 2) @ embeddings


def _grid(x: Tensor) -> tuple[int, ...]:
    return (x.shape[0], *x.shape[2:])


def inverse_norm(x: Tensor, *, dim: int) -> Tensor:
    """One over the Euclidean length, at most 1 / EPS."""
    # vector_norm along a strided axis is 20 times slower than this on a CPU.
    return (x * x).sum(dim, keepdim=True).clamp_min(EPS**2).rsqrt()
