"""Agreement of rankings: which agents an embedding is most like (RankMatch)."""

from itertools import permutations

import torch
from torch import Tensor

EPS = 1e-10
"""As published, in every denominator and logarithm."""


def plackett_luce(scores: Tensor) -> Tensor:
    """Probabilities of all orders of some items under the Plackett-Luce model.

    ``P(pi) = prod_i s_{pi_i} / sum_{l >= i} s_{pi_l}``: the items are drawn one after the other, each by its
    share in what is left.

    Args:
        scores: ``(..., k)``, not negative.

    Returns:
        ``(..., k!)``, in the order of :func:`itertools.permutations`.
    """
    orders = torch.tensor(list(permutations(range(scores.shape[-1]))), device=scores.device)
    ordered = scores[..., orders]
    left = ordered.flip(-1).cumsum(-1).flip(-1)
    shares = ordered / (left + EPS)
    # torch's prod waits for the device in its backward pass.
    probability = shares[..., 0]
    for place in range(1, shares.shape[-1]):
        probability = probability * shares[..., place]
    return probability


def rank_loss(weak: Tensor, strong: Tensor, agents: Tensor, *, top: int = 4) -> Tensor:
    """How differently two views rank the agents that an embedding is most like (RankMatch, CVPR 2024).

    An embedding's likeness to the agents is the softmax of its dot products with them, unscaled. The orders
    of the ``top`` agents that the weak view's embedding is most like have Plackett-Luce probabilities under
    either view; the loss is their Kullback-Leibler divergence from the strong view's to the weak one's,
    divided by the number of orders, as published.

    Args:
        weak: embeddings ``(B, C, *R)`` of the weak view; no gradient reaches them.
        strong: of the strong view, on the same grid.
        agents: positions ``(B, M)`` in the flattened grid; either view has agents of its own there.
        top: agents that are ranked; all where there are fewer.

    Returns:
        A float32 scalar: the mean over images, positions and orders.
    """
    with torch.autocast(weak.device.type, enabled=False):
        with torch.no_grad():
            likeness = _likeness(weak, agents)
            nearest = likeness.topk(min(top, agents.shape[1]), -1).indices
            target = plackett_luce(likeness.gather(-1, nearest))
        predicted = plackett_luce(_likeness(strong, agents).gather(-1, nearest))
        # As torch's kl_div with reduction="mean", which warns that its mean is to change.
        return (torch.xlogy(target, target) - target * (predicted + EPS).log()).mean()


def _likeness(embeddings: Tensor, agents: Tensor) -> Tensor:
    """Softmax over the agents ``(B, N, M)`` of each position's products with them."""
    positions = embeddings.float().flatten(2)
    chosen = positions.gather(2, agents.unsqueeze(1).expand(-1, positions.shape[1], -1))
    return (positions.transpose(1, 2) @ chosen).softmax(-1)
