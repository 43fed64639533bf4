"""How sure the views of one input are, and how far they are from each other.

A *view* is one prediction of the same input: of the student or the teacher, of decoder 1 or 2. Every
function works for any number of classes and of spatial axes, computes in float32 (float64 where the
input has it) whatever autocast says, and never waits for a GPU.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from medssl.common.errors import unknown_name

Norm = Literal["l1", "max"]


def full_precision(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is where it is more precise already."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_norm(norm: str) -> None:
    """Refuse a ``norm`` that :func:`disagreement` does not know."""
    if norm not in get_args(Norm):
        raise unknown_name("norm", norm, get_args(Norm))


def mean_view(views: Sequence[Tensor]) -> Tensor:
    """Mean of the views, class by class.

    Args:
        views: at least one tensor of probabilities ``(B, K, *S)``.

    Returns:
        ``(B, K, *S)``; the view itself where there is one, and it is in full precision.

    Raises:
        ValueError: where ``views`` is empty, is a tensor instead of a sequence of tensors, or where the
            shapes differ or have no spatial axis.
    """
    if isinstance(views, Tensor):
        raise ValueError(f"views must be a sequence of tensors, got one tensor of shape {tuple(views.shape)}")
    if not views:
        raise ValueError("views must hold at least one tensor, got none")
    shapes = [tuple(view.shape) for view in views]
    if len(set(shapes)) > 1 or len(shapes[0]) < 3:
        raise ValueError(f"views must share one shape (B, K, *S), got {shapes}")
    total = full_precision(views[0])
    if len(views) == 1:
        return total  # no copy of what may be 21 classes at full resolution
    for view in views[1:]:
        total = total + full_precision(view)
    return total / len(views)


def confidence(views: Sequence[Tensor]) -> Tensor:
    """Largest class probability of the mean view, ``max_k mean_m p_m(k)`` (TCSeg eq. 6).

    Args:
        views: at least one tensor of probabilities ``(B, K, *S)``.

    Returns:
        ``(B, *S)`` in [1 / K, 1].

    Raises:
        ValueError: as :func:`mean_view`.
    """
    return mean_view(views).amax(1)


def disagreement(a: Tensor, b: Tensor, *, norm: Norm = "l1") -> Tensor:
    """Distance between two views, or between a view and an affinity map (TCSeg eq. 7 and 8).

    Args:
        a: ``(B, K, *S)``.
        b: ``(B, K, *S)``.
        norm: ``"l1"``: sum over classes of ``|a_k - b_k|``, as the paper prints it. ``"max"``: the
            largest ``|a_k - b_k|``, which the published code takes (of the foreground channel); for two
            classes whose probabilities sum to 1 it is half of ``"l1"``.

    Returns:
        ``(B, *S)``; for probabilities in [0, 2] (``"l1"``) or [0, 1] (``"max"``).

    Raises:
        ValueError: where the shapes differ or have no spatial axis, or where ``norm`` is unknown.
    """
    check_norm(norm)
    if a.shape != b.shape or a.ndim < 3:
        raise ValueError(
            f"a and b must share one shape (B, K, *S), got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    distance = (full_precision(a) - full_precision(b)).abs()
    return distance.sum(1) if norm == "l1" else distance.amax(1)


def entropy(probs: Tensor) -> Tensor:
    """Shannon entropy in nats, with ``p log p = 0`` at 0.

    ``torch.special.entr`` gives the same values, but an infinite gradient at 0, which a softmax behind
    it turns into NaN; here the gradient stays finite.

    Args:
        probs: probabilities ``(B, K, *S)``.

    Returns:
        ``(B, *S)`` in [0, ln K].

    Raises:
        ValueError: where ``probs`` has no spatial axis.
    """
    if probs.ndim < 3:
        raise ValueError(f"probs must have the shape (B, K, *S), got {tuple(probs.shape)}")
    probs = full_precision(probs)
    return -torch.xlogy(probs, probs.clamp_min(torch.finfo(probs.dtype).tiny)).sum(1)
