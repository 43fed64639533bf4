"""From cached cases to training batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from medssl.common.errors import InputError, find_input_error
from medssl.data.batches.augmentation import SQUARE_KEY
from medssl.data.batches.sampling import Draw, TwoStreamBatchSampler

Augmentation = Callable[[dict[str, Any]], Any]


class SeededDataset(Dataset[dict[str, Tensor] | InputError]):
    """Cases under random transforms that are seeded per draw.

    With one seed for each draw a batch does not depend on what was drawn before it, in this process or in
    a worker; MONAI's data sets keep one random state that moves with every item.

    Args:
        dataset: preprocessed cases: dictionaries with ``image`` ``(C, *S)`` and, where labelled, ``label``
            ``(1, *S)``, such as ``monai.data.CacheDataset`` gives.
        augmentation: MONAI transform of such a dictionary that gives one dictionary; None for none.
    """

    def __init__(
        self, dataset: Sequence[Mapping[str, Any]], augmentation: Augmentation | None = None
    ) -> None:
        """Keep both."""
        self.dataset = dataset
        self.augmentation = augmentation

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor] | InputError:
        """One augmented case.

        Args:
            draw: index of the case and seed of its random transforms.

        Returns:
            ``image`` float32 ``(C, *S)`` and, where the case has one, ``label`` int64 ``(*S)``; plain
            tensors. In a worker process an :class:`InputError` is returned instead of raised, because torch
            would turn it into a ``RuntimeError`` on the way; :class:`TwoStreamLoader` raises it.
        """
        try:
            return self._augmented(*draw)
        except Exception as error:
            found = find_input_error(error)
            if found is None:
                raise
            if get_worker_info() is not None:
                return found
            raise found from error

    def _augmented(self, index: int, seed: int) -> dict[str, Tensor]:
        case = self.dataset[index]
        # A new dictionary of plain tensors: the cache stays as it is, and no affine is tracked in vain.
        item: dict[str, Any] = {key: _plain(case[key]) for key in ("image", "label") if key in case}
        item[SQUARE_KEY] = _square_in_plane(case["image"])
        if self.augmentation is not None:
            set_random_state = getattr(self.augmentation, "set_random_state", None)
            if set_random_state is not None:
                set_random_state(seed=seed)
            item = self.augmentation(item)
            if not isinstance(item, dict):
                raise ValueError(f"augmentation must give one dictionary, got {type(item).__name__}")
        result = {"image": _plain(item["image"]).to(torch.float32).contiguous()}
        if "label" in item:
            result["label"] = _plain(item["label"])[0].to(torch.int64).contiguous()
        return result


def collate_two_stream(
    items: Sequence[Mapping[str, Tensor] | InputError], *, labeled_rows: int | None = None
) -> dict[str, Tensor] | InputError:
    """Stack rows of which the first have labels.

    Args:
        items: rows from :class:`SeededDataset`, labelled ones first.
        labeled_rows: how many rows must carry a label; not checked by default.

    Returns:
        ``image`` ``(L + U, C, *S)`` and ``label`` ``(L, *S)``; an :class:`InputError` among the rows is
        handed through.

    Raises:
        ValueError: a row without a label stands before one with a label, the number of labels is not
            ``labeled_rows``, or rows differ in shape.
    """
    rows: list[Mapping[str, Tensor]] = []
    for item in items:
        if isinstance(item, InputError):
            return item
        rows.append(item)
    labels = [row["label"] for row in rows if "label" in row]
    if not labels or any("label" not in row for row in rows[: len(labels)]):
        raise ValueError(f"labelled rows must come first, got {['label' in row for row in rows]}")
    if labeled_rows is not None and len(labels) != labeled_rows:
        raise ValueError(f"{labeled_rows} rows may carry a label, got {len(labels)}")
    shapes = {tuple(row["image"].shape) for row in rows}
    if len(shapes) > 1 or any(label.shape != rows[0]["image"].shape[1:] for label in labels):
        raise ValueError(f"rows differ in shape, got images {sorted(shapes)}: crop or pad to one patch size")
    return {"image": torch.stack([row["image"] for row in rows]), "label": torch.stack(labels)}


class TwoStreamLoader(DataLoader[dict[str, Tensor]]):
    """A torch ``DataLoader`` that raises the :class:`InputError` of a worker as what it is."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        """Batches of :func:`collate_two_stream`."""
        for batch in super().__iter__():
            if isinstance(batch, InputError):
                # A new one: the traceback of ``batch`` would hold this frame, which holds ``batch``, and the
                # collector that ends such a circle stops workers only after their time-out.
                raise InputError(batch.where, batch.fault, batch.remedy)
            yield batch


def two_stream_loader(
    dataset: Sequence[Mapping[str, Any]],
    *,
    num_labeled: int,
    augmentation: Augmentation | None = None,
    labeled_per_batch: int = 2,
    unlabeled_per_batch: int = 2,
    seed: int = 0,
    num_workers: int = 0,
    start: int = 0,
) -> TwoStreamLoader:
    """Loader of endless two-stream batches.

    Batch t is the same for any ``num_workers`` and any ``start`` up to t. The sampler is the loader's
    ``batch_sampler``; set its ``start`` before iterating to resume.

    Args:
        dataset: preprocessed cases, the labelled ones first.
        num_labeled: how many of them are labelled.
        augmentation: random MONAI transform of one case, or None.
        labeled_per_batch: labelled rows of a batch.
        unlabeled_per_batch: unlabelled rows of a batch; 0 for supervised training.
        seed: seed of order and augmentation.
        num_workers: processes that augment; 0 for none.
        start: step of the first batch.
    """
    sampler = TwoStreamBatchSampler(
        num_labeled,
        len(dataset) - num_labeled,
        labeled_per_batch=labeled_per_batch,
        unlabeled_per_batch=unlabeled_per_batch,
        seed=seed,
        start=start,
    )
    return TwoStreamLoader(
        SeededDataset(dataset, augmentation),  # type: ignore[arg-type]
        batch_sampler=sampler,  # type: ignore[arg-type]
        collate_fn=partial(collate_two_stream, labeled_rows=labeled_per_batch),
        num_workers=num_workers,
        persistent_workers=False,  # the stream is endless: workers start once, and end with the iterator
        pin_memory=torch.cuda.is_available(),
        # Its own generator, so that making workers draws nothing from torch's global state.
        generator=torch.Generator().manual_seed(seed),
    )


def _plain(value: Tensor) -> Tensor:
    return value.as_tensor() if isinstance(value, MetaTensor) else value


def _square_in_plane(image: Tensor) -> bool:
    """Whether a voxel's first two sides are of equal length, to 1%; true of images without a position."""
    if not isinstance(image, MetaTensor):
        return True
    first, second = image.pixdim[:2].tolist()
    return bool(abs(first - second) <= 0.01 * max(first, second))
