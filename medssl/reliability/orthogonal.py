"""Embeddings that are as unlike as possible: agents of RankMatch, negative agents of AgScore."""

import torch
from torch import Tensor

from medssl.reliability.measures import full_precision


@torch.no_grad()
def orthogonal_indices(embeddings: Tensor, count: int, first: Tensor, *, signed: bool = False) -> Tensor:
    """Greedy choice: each next embedding has the least cosine to the most similar one chosen before it.

    One running maximum is kept instead of the cosines of all pairs: ``O(count N C)`` time and ``O(N C)``
    memory, on the device, without waiting for it.

    Args:
        embeddings: ``(B, N, C)``; a choice is made in each of the ``B`` sets.
        count: how many to choose; all ``N`` where there are fewer.
        first: ``(B,)`` int64, the one that is chosen first.
        signed: compare cosines, so that opposite directions are the least alike (AgScore, Algorithm 2), and
            not their absolute values (RankMatch), by which right angles are.

    Returns:
        ``(B, min(count, N))`` int64, in the order of choice, no one twice.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = torch.nn.functional.normalize(full_precision(embeddings), dim=-1)
        rows = torch.arange(len(unit), device=unit.device)
        chosen = [first]
        worst = unit.new_full(unit.shape[:2], -torch.inf)
        for _ in range(1, min(count, unit.shape[1])):
            cosine = (unit @ unit[rows, chosen[-1]].unsqueeze(-1)).squeeze(-1)
            worst = torch.maximum(worst, cosine if signed else cosine.abs())
            worst[rows, chosen[-1]] = torch.inf
            chosen.append(worst.argmin(1))
    return torch.stack(chosen, 1)
