"""Cases that are read and preprocessed once, before a training begins."""

from collections.abc import Iterable
from multiprocessing.pool import ThreadPool
from typing import Any

from monai.data import CacheDataset

from medssl.common.progress import track


class CachedDataset(CacheDataset):  # type: ignore[misc]
    """MONAI's ``CacheDataset``, which tells how far it is as every long job here does.

    MONAI's own bar is drawn where there is no terminal, too, and fills the log of a batch job.
    """

    def _fill_cache(self, indices: Iterable[int] | None = None) -> list[Any]:
        """Preprocess the cached items, or those of ``indices``, side by side."""
        numbers = list(range(self.cache_num) if indices is None else indices)
        if not numbers:
            return []
        with ThreadPool(self.num_workers) as pool:
            items = pool.imap(self._load_cache_item, numbers)
            return list(track(items, len(numbers), title="reading", unit="case", inner=True))
