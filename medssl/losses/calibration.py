"""Agreement of probabilities and prototype affinities across two decoders (TCSeg eq. 15)."""

from torch import Tensor
from torch.nn import functional as F

Pair = tuple[Tensor, Tensor]


def calibration_loss(probs: Pair, affinities: Pair) -> Tensor:
    """Eq. 15: ``|p1-p2|^2 + |q1-q2|^2 + |p1-q1|^2 + |p2-q2|^2``, summed over classes, mean over voxels.

    Nothing is detached. All arguments are ``(B, K, *S)``.
    """
    (p1, p2), (q1, q2) = probs, affinities
    classes = p1.shape[1]
    pairs = ((p1, p2), (q1, q2), (p1, q1), (p2, q2))
    return classes * sum((F.mse_loss(a, b) for a, b in pairs), p1.new_zeros(()))


def published_calibration_loss(probs: Pair, affinities: Pair, *, accumulate: bool = True) -> Tensor:
    """The published code's form: mean squared errors over batch, classes and voxels.

    ``mse(p1,p2) + (mse(q1,q2) + mse(q1,p1) + mse(q2,p2)) / 4``. The published loop over the two decoders
    adds the running sum twice, once before the last term; ``accumulate`` keeps the weights that follow,
    ``2 mse(p1,p2) + (mse(q1,q2) + mse(q1,p1)) / 2 + mse(q2,p2) / 4``.
    """
    (p1, p2), (q1, q2) = probs, affinities
    first = F.mse_loss(p1, p2) + 0.25 * (F.mse_loss(q1, q2) + F.mse_loss(q1, p1))
    last = 0.25 * F.mse_loss(q2, p2)
    return 2 * first + last if accumulate else first + last
