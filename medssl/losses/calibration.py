"""Agreement of probabilities and prototype affinities across two decoders (TCSeg eq. 15)."""

from torch import Tensor
from torch.nn import functional as F

Pair = tuple[Tensor, Tensor]


def calibration_loss(probs: Pair, affinities: Pair, first: Pair, second: Pair) -> Tensor:
    """Eq. 15: ``|p1-p2|^2 + |q1-q2|^2 + |p1-q1|^2 + |p2-q2|^2``, summed over classes, mean over voxels.

    Nothing is detached. The pairs are given and not the four maps, because a class without a prototype may be
    zeroed in some of them.

    Args:
        probs: ``p1`` and ``p2``, ``(B, K, *S)`` as all that follow.
        affinities: ``q1`` and ``q2``.
        first: ``q1`` and ``p1``.
        second: ``q2`` and ``p2``.
    """
    classes = probs[0].shape[1]
    terms = (F.mse_loss(a, b) for a, b in (probs, affinities, first, second))
    return classes * sum(terms, probs[0].new_zeros(()))


def published_calibration_loss(
    probs: Pair, affinities: Pair, first: Pair, second: Pair, *, accumulate: bool = True
) -> Tensor:
    """The published code's form: mean squared errors over batch, classes and voxels.

    ``mse(p1,p2) + (mse(q1,q2) + mse(q1,p1) + mse(q2,p2)) / 4``; arguments as for :func:`calibration_loss`.
    The published loop over the two decoders adds the running sum twice, once before the last term;
    ``accumulate`` keeps the weights that follow,
    ``2 mse(p1,p2) + (mse(q1,q2) + mse(q1,p1)) / 2 + mse(q2,p2) / 4``.
    """
    running = F.mse_loss(*probs) + 0.25 * (F.mse_loss(*affinities) + F.mse_loss(*first))
    last = 0.25 * F.mse_loss(*second)
    return 2 * running + last if accumulate else running + last
