"""Attention between channels, and a memory of them: the module of AllSpark (Wang et al., CVPR 2024).

A channel of a coarse map, with its values at all ``N`` positions, is a token. What reads such tokens asks for
no number of positions, since linear layers and layer norms act on channels alone and scores are normalised;
only the memory keeps vectors of one length. PyTorch's attention neither normalises scores nor lets heads see
each other, which the published cross-attention does; hence our own.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.reliability.grids import on_grid
from medssl.reliability.measures import full_precision


def attend(queries: Tensor, keys: Tensor, values: Tensor, dropout: nn.Module) -> Tensor:
    """``softmax(IN(Q^T K)) V^T``: every channel of the queries becomes a mean of channels of the values.

    Scores are normalised over the whole matrix of an image (and head), as ``InstanceNorm2d`` without weights
    does; nothing is divided by the root of a length, which the norm would undo.

    Args:
        queries: ``(..., N, Q)``.
        keys: ``(..., N, M)``; leading axes may be 1 or missing.
        values: as the keys.
        dropout: of the weights.

    Returns:
        ``(..., N, Q)``.
    """
    scores = full_precision(queries.mT @ keys)
    weights: Tensor = dropout(F.layer_norm(scores, scores.shape[-2:]).softmax(-1))
    return values @ weights.to(values.dtype).mT


class Projections(nn.Module):
    """Queries, keys, values and the way back, without biases.

    Args:
        channels: ``C``.
        heads: ``H``; a channel becomes ``H``.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.queries, self.keys, self.values = (
            nn.Linear(channels, heads * channels, bias=False) for _ in range(3)
        )
        self.out = nn.Linear(heads * channels, channels, bias=False)
        for linear in (self.queries, self.keys, self.values, self.out):
            nn.init.xavier_uniform_(linear.weight)


class ChannelAttention(nn.Module):
    """AllSpark's module on a coarse map, its memory aside.

    1x1 convolution and GELU; layer norm; attention, added to what came before the norm; layer norm; 1x1
    convolution and GELU. Two attentions: channels of an unlabelled image look at those of the same image,
    head by head; channels of a labelled image look at those of others, every head at all heads, as published.

    Args:
        channels: of the map, ``C``.
        heads: of both attentions.
        dropout: of weights and of what attention gives.
    """

    def __init__(self, channels: int, *, heads: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads = heads
        # A linear layer on every position is a 1x1 convolution, with any number of axes.
        self.map_in, self.map_out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.norm_in, self.norm_out = (nn.LayerNorm(channels, eps=1e-6) for _ in range(2))
        self.within, self.across = Projections(channels, heads), Projections(channels, heads)
        self.weight_dropout, self.dropout = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, coarse: Tensor) -> Tensor:
        """A map ``(B, C, *S)`` of which every image looks at itself, as a labelled one; the same shape."""
        entered, tokens = self.enter(coarse)
        projections = self.across
        keys, values = projections.keys(tokens), projections.values(tokens)
        attended = attend(projections.queries(tokens), keys, values, self.weight_dropout)
        return self.leave(entered, self.dropout(projections.out(attended)), coarse.shape[2:])

    def enter(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, N, C)`` of a map ``(B, C, *S)``, before and after their norm."""
        entered = F.gelu(self.map_in(coarse.flatten(2).mT))
        return entered, self.norm_in(entered)

    def leave(self, entered: Tensor, attended: Tensor, grid: Sequence[int]) -> Tensor:
        """The map ``(B, C, *grid)`` of tokens before their norm and what attention adds to them."""
        left = F.gelu(self.map_out(self.norm_out(entered + attended)))
        return left.mT.reshape(len(left), -1, *grid)

    def unlabeled(self, tokens: Tensor) -> Tensor:
        """What the channels of each image, ``(U, N, C)``, gain from each other: the same shape."""
        projections, (rows, positions, channels) = self.within, tokens.shape

        def by_head(projected: Tensor) -> Tensor:
            return projected.view(rows, positions, self.heads, channels).transpose(1, 2)

        queries, keys, values = (
            by_head(project(tokens))
            for project in (projections.queries, projections.keys, projections.values)
        )
        attended = attend(queries, keys, values, self.weight_dropout)
        out: Tensor = self.dropout(projections.out(attended.transpose(1, 2).flatten(2)))
        return out

    def labeled(self, tokens: Tensor, others: Tensor) -> Tensor:
        """What the channels of images gain from channels that are not theirs.

        Args:
            tokens: ``(L, N, C)``.
            others: ``(M, N, C)``, of ``M`` unlabelled images or classes of the memory; every image sees all.

        Returns:
            ``(L, N, C)``.
        """
        projections = self.across
        keys, values = (
            project(others).transpose(0, 1).flatten(1) for project in (projections.keys, projections.values)
        )
        attended = attend(projections.queries(tokens), keys, values, self.weight_dropout)
        out: Tensor = self.dropout(projections.out(attended))
        return out


@torch.no_grad()
def channel_classes(tokens: Tensor, logits: Tensor, grid: Sequence[int]) -> Tensor:
    """The class that each channel resembles: AllSpark's channel-wise semantic grouping.

    Cosine similarity, over the positions, of the channel with each class's logits on the grid.

    Args:
        tokens: ``(U, N, C)``.
        logits: ``(U, K, *S)`` of the same images, no probabilities, as published.
        grid: whose ``N`` positions the tokens are.

    Returns:
        int64 ``(U, C)``.
    """
    maps = on_grid(logits, grid).flatten(2)
    with torch.autocast(tokens.device.type, enabled=False):
        similarity = F.normalize(maps, dim=2) @ F.normalize(full_precision(tokens).to(maps.dtype), dim=1)
    return similarity.argmax(1)


class SemanticMemory(nn.Module):
    """Channels that were seen last, class by class: AllSpark's semantic memory.

    A queue of ``C`` channels a class, first in, first out, drawn from a normal distribution at the beginning.
    Part of the state: saved and resumed with it.

    Args:
        num_classes: ``K``.
        channels: ``C``.
        positions: ``N``, the length of a channel.
    """

    queue: Tensor
    ends: Tensor

    def __init__(self, num_classes: int, channels: int, positions: int) -> None:
        super().__init__()
        self.register_buffer("queue", torch.randn(num_classes, channels, positions))
        self.register_buffer("ends", torch.zeros(num_classes, dtype=torch.int64))

    @torch.no_grad()
    def push(self, tokens: Tensor, classes: Tensor) -> None:
        """Let the channels of images take the places of the oldest of their classes.

        Images in their order, and the channels of an image in theirs. Without a transfer from the device.

        Args:
            tokens: ``(U, N, C)``.
            classes: of each channel, int64 ``(U, C)``.
        """
        num_classes, length = self.queue.shape[:2]
        for channels, ids in zip(tokens.detach().mT.to(self.queue.dtype), classes, strict=True):
            members = F.one_hot(ids, num_classes)
            # An image has as many channels as a queue has places: no place is taken twice.
            rank = members.cumsum(0).gather(1, ids.unsqueeze(1)).squeeze(1) - 1
            self.queue[ids, (self.ends[ids] + rank) % length] = channels
            self.ends.copy_((self.ends + members.sum(0)) % length)

    def forward(self) -> Tensor:
        """All channels as tokens ``(K, N, C)``."""
        return self.queue.mT
