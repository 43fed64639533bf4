"""Two-stream batches: labelled rows first, and batch t the same whenever it is asked for."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from medssl.common import ranks
from medssl.common.draws import generator, seed_of

Draw = tuple[int, int]
"""Index into the data set and the seed of this draw's random transforms."""

STREAMS: dict[str, int] = {"labeled": 0, "unlabeled": 1}


class TwoStreamBatchSampler(Sampler[list[Draw]]):
    """Endless batches of labelled and unlabelled cases as a pure function of seed, rank and step.

    Each stream walks through random permutations of its cases, a new one whenever the last is used up;
    ranks take turns on the same walk, so that no two of them draw the same case in one pass. MONAI and
    torch have no sampler of two streams, and theirs draw from a generator whose state a resumed run would
    have to restore; here ``start`` alone says where to go on.

    Args:
        num_labeled: labelled cases, which stand first in the data set.
        num_unlabeled: unlabelled cases, which follow them.
        labeled_per_batch: labelled rows of a batch, on each rank.
        unlabeled_per_batch: unlabelled rows of a batch, on each rank; 0 for supervised training.
        seed: seed of permutations and of item seeds.
        rank: this process among ``world_size``; that of the process group by default.
        world_size: number of processes; likewise.
        start: step of the first batch; set it to the number of completed steps to resume.

    Raises:
        ValueError: rows asked of an empty stream, or numbers out of range.
    """

    def __init__(
        self,
        num_labeled: int,
        num_unlabeled: int,
        *,
        labeled_per_batch: int = 2,
        unlabeled_per_batch: int = 2,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        start: int = 0,
    ) -> None:
        self.rank = ranks.rank() if rank is None else rank
        self.world_size = ranks.world_size() if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be in [0, world_size), got {self.rank} of {self.world_size}")
        if seed < 0 or start < 0:
            raise ValueError(f"seed and start must not be negative, got {seed} and {start}")
        if labeled_per_batch < 1 or num_labeled < 1:
            raise ValueError(
                f"need a labelled case and a labelled row, got {num_labeled} and {labeled_per_batch}"
            )
        if unlabeled_per_batch < 0 or num_unlabeled < (unlabeled_per_batch > 0):
            raise ValueError(
                f"unlabeled_per_batch is {unlabeled_per_batch} but num_unlabeled {num_unlabeled}"
            )
        self.num_labeled, self.num_unlabeled = num_labeled, num_unlabeled
        self.labeled_per_batch, self.unlabeled_per_batch = labeled_per_batch, unlabeled_per_batch
        self.seed, self.start = seed, start
        self._latest: dict[str, tuple[int, NDArray[np.int64]]] = {}  # pass and its permutation

    def __iter__(self) -> Iterator[list[Draw]]:
        """Batches from ``start`` on, without end."""
        step = self.start
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> list[Draw]:
        """The batch of ``step`` (from 0) on this rank, labelled rows first."""
        unlabeled = self._rows("unlabeled", step, self.unlabeled_per_batch, self.num_unlabeled)
        return [
            *self._rows("labeled", step, self.labeled_per_batch, self.num_labeled),
            *((self.num_labeled + index, seed) for index, seed in unlabeled),
        ]

    def _rows(self, stream: Literal["labeled", "unlabeled"], step: int, rows: int, total: int) -> list[Draw]:
        first = (step * self.world_size + self.rank) * rows
        drawn = []
        for position in range(first, first + rows):
            pass_number, place = divmod(position, total)
            index = int(self._permutation(stream, pass_number, total)[place])
            # The position in the walk is new in every pass and on every rank, and so is the seed.
            drawn.append((index, seed_of(self.seed, STREAMS[stream], 1, position)))
        return drawn

    def _permutation(self, stream: str, pass_number: int, total: int) -> NDArray[np.int64]:
        latest = self._latest.get(stream)
        if latest is None or latest[0] != pass_number:
            order = generator(self.seed, STREAMS[stream], 0, pass_number).permutation(total)
            latest = self._latest[stream] = (pass_number, order)
        return latest[1]
