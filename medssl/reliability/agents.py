"""Agents in feature space, and how near an embedding is to the good ones (AgScore).

Source: "Beyond Confidence: Exploiting Homogeneous Pattern for Semi-Supervised Semantic Segmentation" (ICML
2025), Algorithms 1 and 2 and eq. 4. ``docs/methods/agscore.md`` says what the paper leaves open, and what is
done here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from medssl.common.draws import device_draws, seed_of
from medssl.common.errors import unknown_name
from medssl.common.ranks import rank
from medssl.reliability.measures import full_precision
from medssl.reliability.prototypes import inverse_norm

Strategy = Literal["orthogonal", "uniform", "bottom"]
CHUNK = 2**12
"""Embeddings that are compared with all agents at a time: what they need stays in a CPU's cache."""


@dataclass(frozen=True)
class Agents:
    """Embeddings that stand for right and for wrong pseudo-labels.

    Attributes:
        embeddings: ``(N + M, C)`` of unit length, the N positive ones first.
        present: bool ``(N + M,)``; places are left empty where there were too few candidates.
        index: int64 ``(N + M,)``, where they come from: places in the flattened ``(B, *T)``.
        num_positive: ``N``.
    """

    embeddings: Tensor
    present: Tensor
    index: Tensor
    num_positive: int


@dataclass(frozen=True)
class AgentScore:
    """How much an embedding is like reliable pixels rather than like unreliable ones (AgScore eq. 4).

    ``S(f) = P / (P + Q)`` with ``P`` and ``Q`` the sums of ``exp(cos(f, a) / temperature)`` over the positive
    and the negative agents. Agents are drawn anew from every batch (:meth:`choose`): positive ones at random
    among the most confident pixels, negative ones from the least confident, each as unlike those before
    it as can be.

    Args:
        num_positive: ``N``.
        num_negative: ``M``.
        strategy: how negative agents are taken from their candidates: ``"orthogonal"`` (Algorithm 2), at
            random (``"uniform"``), or the least confident ones (``"bottom"``).
        temperature: of the cosines; 1 in the paper. At least 0.05.
        budget: share of the valid pixels that are candidates, divided equally among the predicted classes.
        seed: of what is drawn at random.

    Raises:
        ValueError: an argument outside its range.
    """

    num_positive: int = 64
    num_negative: int = 256
    strategy: Strategy = "orthogonal"
    temperature: float = 1.0
    budget: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("num_positive", "num_negative"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.strategy not in get_args(Strategy):
            raise unknown_name("strategy", self.strategy, get_args(Strategy))
        if not self.temperature >= 0.05:
            raise ValueError(f"temperature must be at least 0.05, got {self.temperature}")
        if not 0 < self.budget <= 1:
            raise ValueError(f"budget must be in (0, 1], got {self.budget}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")

    @torch.no_grad()
    def __call__(
        self,
        features: Sequence[Tensor],
        probs: Tensor,
        *,
        valid: Tensor | None = None,
        number: Tensor | int = 0,
    ) -> Tensor:
        """The score of every pixel of a batch, from agents of the same batch.

        Args:
            features: embeddings ``(B, C, *T)``, one tensor a view (:func:`unit_embeddings`).
            probs: probabilities ``(B, K, *T)``, from which confidence and class are taken.
            valid: bool ``(B, *T)``, the pixels from which agents are taken; all where None.
            number: of the batch; what is drawn at random depends on it, on the seed and on the rank alone.

        Returns:
            float32 ``(B, *T)`` in (0, 1). NaN where the embedding has no finite length.

        Raises:
            ValueError: shapes that do not belong together.
        """
        embeddings = unit_embeddings(features)
        return self.score(embeddings, self.choose(embeddings, probs, valid=valid, number=number))

    @torch.no_grad()
    def choose(
        self, embeddings: Tensor, probs: Tensor, *, valid: Tensor | None = None, number: Tensor | int = 0
    ) -> Agents:
        """Algorithms 1 and 2: the agents of a batch.

        Args:
            embeddings: of unit length ``(B, C, *T)``.
            probs: as for a call, and so are ``valid`` and ``number``.
            valid: see there.
            number: see there.

        Raises:
            ValueError: shapes that do not belong together.
        """
        grid = (embeddings.shape[0], *embeddings.shape[2:])
        if (probs.shape[0], *probs.shape[2:]) != grid or (valid is not None and valid.shape != grid):
            shapes = [tuple(x.shape) for x in (embeddings, probs, *(() if valid is None else (valid,)))]
            raise ValueError(f"embeddings, probs and valid must share B and *T, got {shapes}")
        number = torch.as_tensor(number, device=embeddings.device)
        top = full_precision(probs).max(1)
        confidence, classes = top.values.flatten(), probs.shape[1]
        flat = embeddings.flatten(2)
        if not len(confidence):  # a batch of no images
            empty = torch.zeros(0, dtype=torch.int64, device=flat.device)
            return Agents(flat.new_zeros(0, flat.shape[1]), empty.bool(), empty, 0)
        usable = confidence.isfinite() & embeddings[:, 0].isfinite().flatten()
        if valid is not None:
            usable &= valid.flatten()
        order, starts = _by_class(confidence, top.indices.flatten(), usable, classes)
        positive = _candidates(order, starts, budget=self.budget, need=self.num_positive, most=True)
        negative = _candidates(order, starts, budget=self.budget, need=self.num_negative, most=False)
        chosen = [self._random(*positive, self.num_positive, number, "positive")]
        if self.strategy == "uniform":
            chosen.append(self._random(*negative, self.num_negative, number, "negative"))
        else:
            index, filled = negative
            if self.strategy == "bottom":
                ranked = torch.where(filled, confidence[index], torch.inf)
                places = ranked.topk(min(self.num_negative, len(index)), largest=False).indices
            else:
                first = torch.where(filled, confidence[index], torch.inf).argmin(0, keepdim=True)
                places = mutually_distant(_rows(flat, index, filled), filled, first, self.num_negative)
            # Filled places come first: only when none is left is an empty one taken.
            present = torch.arange(len(places), device=places.device) < filled.sum()
            chosen.append((index[places], present))
        index = torch.cat([part[0] for part in chosen])
        present = torch.cat([part[1] for part in chosen])
        return Agents(_rows(flat, index, present), present, index, len(chosen[0][0]))

    @torch.no_grad()
    def score(self, embeddings: Tensor, agents: Agents) -> Tensor:
        """Eq. 4 for embeddings ``(B, C, *T)`` of unit length: float32 ``(B, *T)`` in (0, 1)."""
        flat = embeddings.flatten(2)
        scores = flat.new_empty(flat.shape[0], flat.shape[2])
        # A cosine is at most 1: shifted by that, no exponential overflows. An empty place adds nothing.
        shift = torch.where(agents.present, -1 / self.temperature, -torch.inf).unsqueeze(1).to(flat.dtype)
        tiny = torch.finfo(flat.dtype).tiny
        with torch.autocast(flat.device.type, enabled=False):
            scaled = agents.embeddings / self.temperature
            for row, out in zip(flat, scores, strict=True):
                for part, target in zip(row.split(CHUNK, 1), out.split(CHUNK), strict=True):
                    terms = torch.addmm(shift, scaled, part).exp_()
                    positive, negative = (
                        terms[: agents.num_positive].sum(0),
                        terms[agents.num_positive :].sum(0),
                    )
                    torch.div(positive, (positive + negative).clamp_min_(tiny), out=target)
        return scores.view(embeddings.shape[0], *embeddings.shape[2:])

    def _random(
        self, index: Tensor, filled: Tensor, count: int, number: Tensor, stream: str
    ) -> tuple[Tensor, Tensor]:
        """At most ``count`` of the candidates, and which places hold one."""
        keys = device_draws(seed_of(self.seed, rank(), stream), number, len(index))
        top = torch.where(filled, keys, -1).topk(min(count, len(index)))
        return index[top.indices], top.values >= 0


def unit_embeddings(features: Sequence[Tensor]) -> Tensor:
    """One embedding of all views, of unit length.

    Views are embedded by networks or decoders of their own, in spaces that have nothing to do with each
    other, so that a mean would add what cannot be compared. Normalised and laid end to end, their cosine is
    the mean of the views' cosines; of one view it is that view.

    Args:
        features: embeddings ``(B, C, *T)``, one tensor a view, on one grid.

    Returns:
        ``(B, sum of C, *T)``, in float32 at least. Embeddings without a finite length are NaN in all
        channels, zeros stay zero.

    Raises:
        ValueError: no view, or grids that differ.
    """
    grids = {(f.shape[0], *f.shape[2:]) for f in features}
    if len(grids) != 1:
        shapes = [tuple(f.shape) for f in features]
        raise ValueError(f"features must be one tensor (B, C, *T) or more on one grid, got {shapes}")
    parts = []
    with torch.autocast(features[0].device.type, enabled=False):
        for view in map(full_precision, features):
            scale = inverse_norm(view, dim=1)
            # Of a length that is no finite number scale is NaN or 0.
            parts.append(view * torch.where(scale > 0, scale / math.sqrt(len(features)), torch.nan))
        if len(parts) == 1:
            return parts[0]
        joined = torch.cat(parts, 1)
        # One broken view is enough.
        return joined + 0 * joined.sum(1, keepdim=True)


@torch.no_grad()
def mutually_distant(
    embeddings: Tensor, filled: Tensor, first: Tensor, count: int, *, absolute: bool = False
) -> Tensor:
    """Algorithm 2: one after the other, the embedding whose largest cosine to those before is smallest.

    One running maximum, so that time is of the order ``count * n * C`` and no ``n x n`` matrix is held.

    Args:
        embeddings: of unit length ``(*B, n, C)``; in each of the sets ``*B``, if any, others are taken.
        filled: bool ``(*B, n)``, those that may be taken.
        first: int64 ``(*B, 1)``, the one to begin with.
        count: how many.
        absolute: compare absolute cosines, by which those at right angles are least alike, as RankMatch
            does; else opposite ones are.

    Returns:
        int64 ``(*B, min(count, n))``: places, no filled one twice, the others after all of those.
    """
    nearest = torch.where(filled, -torch.inf, torch.inf).to(embeddings.dtype)
    places = [first[..., :0]]
    with torch.autocast(embeddings.device.type, enabled=False):
        for _ in range(min(count, embeddings.shape[-2])):
            places.append(first)
            latest = embeddings.gather(-2, first.unsqueeze(-1).expand(*first.shape, embeddings.shape[-1]))
            cosine = (embeddings @ latest.mT).squeeze(-1)
            torch.maximum(nearest, cosine.abs_() if absolute else cosine, out=nearest)
            nearest.scatter_(-1, first, torch.inf)
            first = nearest.argmin(-1, keepdim=True)
    return torch.cat(places, -1)


def _rows(flat: Tensor, index: Tensor, wanted: Tensor) -> Tensor:
    """Embeddings ``(n, C)`` of ``(B, C, P)`` at places in ``B * P``; zeros where none is wanted."""
    batch = torch.div(index, flat.shape[2], rounding_mode="floor")
    rows = flat[batch, :, index - batch * flat.shape[2]]
    # What is not wanted may be NaN, which would spread to all that it is compared with.
    return torch.where(wanted.unsqueeze(1), rows, 0)


def _by_class(confidence: Tensor, labels: Tensor, usable: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Places ordered by class and, within it, from the surest on; and where each class starts: ``(K + 1,)``.

    What is not usable comes last, from the last start on.
    """
    group = torch.where(usable, labels, classes)
    # One sort for both: the confidence is at most 1, and in float64 loses no digit beside a class id.
    key = group.double() - torch.where(usable, confidence, 0).double()
    order = key.argsort(stable=True)
    return order, torch.searchsorted(group[order], torch.arange(classes + 1, device=group.device))


def _candidates(
    order: Tensor, starts: Tensor, *, budget: float, need: int, most: bool
) -> tuple[Tensor, Tensor]:
    """The most, or the least, confident pixels of every class, as many of each as there are or may be.

    Args:
        order: as :func:`_by_class` gives them, and so are the starts.
        starts: see there.
        budget: share of the valid pixels.
        need: at least so many, if there are.
        most: whether the most confident ones.

    Returns:
        Places int64 ``(n,)``, and bool ``(n,)``, which of these are candidates: how many there are, only the
        device knows. The candidates come first.
    """
    sizes = starts.diff()
    predicted = (sizes > 0).sum().clamp_min(1)
    # A share such as 0.07 of 100 pixels is 7 and not, by rounding, 8.
    share = (starts[-1].double() * budget / predicted - 1e-9).ceil().long()
    quota = torch.minimum(sizes, torch.maximum(share, _level(sizes, need)))
    ends = quota.cumsum(0)
    capacity = min(len(order), max(math.ceil(budget * len(order)), need) + len(sizes))
    slots = torch.arange(capacity, device=order.device)
    label = torch.searchsorted(ends, slots, right=True).clamp_max(len(sizes) - 1)
    begin = starts[:-1] if most else starts[1:] - quota
    places = (begin[label] + slots - (ends - quota)[label]).clamp(0, len(order) - 1)
    return order[places], slots < ends[-1]


def _level(sizes: Tensor, need: int) -> Tensor:
    """The least number to take of every class, or all of it, so that ``need`` are taken; scalar."""
    ascending = sizes.sort().values
    before = ascending.cumsum(0) - ascending
    left = torch.arange(len(sizes), 0, -1, device=sizes.device)
    levels = -torch.div(before - need, left, rounding_mode="floor")
    enough = levels <= ascending
    # Where all together are too few, all of them.
    first = levels.gather(0, enough.int().argmax(0, keepdim=True))  # an index without axes would be read back
    return torch.where(enough.any(), first[0], ascending[-1])
