"""From cached cases to training batches: labelled rows, and views of unlabelled ones by name.

The view ``"weak"`` is a case under the augmentation. Every strong one, such as ``"strong1"``, is an intensity
transform of that same patch with draws of its own. ``"annotation"`` is no image but an annotator's labels,
which the augmentation moved as it moves labels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from medssl.common.constants import IGNORE
from medssl.common.draws import seed_of
from medssl.common.errors import InputError, find_input_error, unknown_name
from medssl.common.ranks import rank
from medssl.data.batches.augmentation import SQUARE_KEY
from medssl.data.batches.patches import LABELED_KEY
from medssl.data.batches.sampling import Draw, TwoStreamBatchSampler
from medssl.data.reading.annotations import ANNOTATION

Augmentation = Callable[[dict[str, Any]], Any]
Row = dict[str, Tensor]
TwoStreamBatch = dict[str, Any]

WEAK = "weak"
VALID = "valid"
STRONG = "strong"
"""The names of strong views begin so."""


def check_views(
    views: Sequence[str],
    *,
    strong: Augmentation | None = None,
    unlabeled_per_batch: int = 1,
    labeled_view: str = WEAK,
) -> None:
    """Refuse views of images that cannot be made; arguments as for :func:`two_stream_loader`.

    Raises:
        InputError: an unknown view, a strong one without a strong augmentation, or views of no row.
    """
    for view in (*views, labeled_view):
        if view not in (WEAK, ANNOTATION) and not view.startswith(STRONG):
            raise unknown_name("view", view, (WEAK, STRONG, ANNOTATION))
        if view.startswith(STRONG) and strong is None:
            remedy = "give strong_augmentation, or a method without this view"
            raise InputError(f"view {view!r}", "there is no strong augmentation", remedy)
    if views and unlabeled_per_batch == 0:
        fault = "the method learns from unlabelled images"
        raise InputError("unlabeled_per_batch=0", fault, "give at least 1, or another method")


class SeededDataset(Dataset[Row | InputError]):
    """Cases under random transforms that are seeded per draw.

    With one seed for each draw a batch does not depend on what was drawn before it, in this process or in
    a worker; MONAI's data sets keep one random state that moves with every item.

    Args:
        dataset: preprocessed cases: dictionaries with ``image`` ``(C, *S)`` and, where labelled, ``label``
            ``(1, *S)``, such as ``monai.data.CacheDataset`` gives; unlabelled ones perhaps with
            ``annotation`` ``(1, *S)``, class ids with 255 where ignored.
        augmentation: MONAI transform of such a dictionary that gives one dictionary; None for none.
        views: those of an unlabelled case, ``"weak"``, names that begin with ``"strong"``, ``"annotation"``.
        strong: random transform of a dictionary with the weak view as ``image``, of its intensities alone;
            drawn anew for each strong view.
        valid: whether unlabelled cases say which voxels are image. The augmentation then moves a map of ones
            in the place of the label, which it pads with 0 or, as labels of images are, with 255.
        labeled_view: that of a labelled case, ``"weak"`` or a strong one.

    Raises:
        InputError: as :func:`check_views`.
    """

    def __init__(
        self,
        dataset: Sequence[Mapping[str, Any]],
        augmentation: Augmentation | None = None,
        *,
        views: Sequence[str] = (WEAK,),
        strong: Augmentation | None = None,
        valid: bool = False,
        labeled_view: str = WEAK,
    ) -> None:
        check_views(views, strong=strong, labeled_view=labeled_view)
        self.dataset, self.augmentation = dataset, augmentation
        self.views, self.strong, self.valid = tuple(views), strong, valid
        self.labeled_view = labeled_view

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Row | InputError:
        """One augmented case.

        Args:
            draw: index of the case and seed of its random transforms.

        Returns:
            Plain tensors. Of a labelled case: ``image`` float32 ``(C, *S)``, ``label`` int64 ``(*S)`` and,
            where it is a view and the case has one, ``annotation`` int64 ``(*S)``; of another: every view,
            float32 ``(C, *S)`` or ``annotation``, and, where asked for, ``valid`` bool ``(*S)``. In a
            worker process an :class:`InputError` is returned instead of raised, because torch would turn it
            into a ``RuntimeError`` on the way; :class:`TwoStreamLoader` raises it.
        """
        try:
            return self._row(*draw)
        except Exception as error:
            fault = find_input_error(error)
            if fault is None:
                raise
            if get_worker_info() is not None:
                return fault
            raise fault from error

    def _row(self, index: int, seed: int) -> Row:
        case = self.dataset[index]
        # A new dictionary of plain tensors: the cache stays as it is, and no affine is tracked in vain.
        maps = self._maps(case)
        item: dict[str, Any] = {"image": _plain(case["image"])}
        item[SQUARE_KEY] = _square_in_plane(case["image"])
        item[LABELED_KEY] = "label" in maps
        if maps:
            # Whatever is moved with the image is a channel of its label, and so is moved alike.
            item["label"] = torch.cat(list(maps.values())) if len(maps) > 1 else next(iter(maps.values()))
        item = _transformed(self.augmentation, item, seed)
        weak = _plain(item["image"]).to(torch.float32).contiguous()
        moved = dict(zip(maps, _plain(item["label"]), strict=True)) if maps else {}
        ids = {name: entry.to(torch.int64).contiguous() for name, entry in moved.items() if name != VALID}
        if "label" in ids:
            return {"image": self._view(self.labeled_view, weak, seed), **ids}
        row = {view: ids[view] if view == ANNOTATION else self._view(view, weak, seed) for view in self.views}
        if self.valid:
            row[VALID] = (moved[VALID] > 0) & (moved[VALID] != IGNORE)
        return row

    def _maps(self, case: Mapping[str, Any]) -> dict[str, Tensor]:
        """What is moved with the image of a case, ``(1, *S)`` each."""
        labeled = "label" in case
        maps = {"label": _plain(case["label"])} if labeled else {}
        if ANNOTATION in self.views and (ANNOTATION in case or not labeled):
            if ANNOTATION not in case:
                fault = "there is no annotation map"
                raise InputError(
                    f"view {ANNOTATION!r}", fault, "give annotations, or a method without this view"
                )
            maps[ANNOTATION] = _plain(case[ANNOTATION])
        if self.valid and not labeled:
            maps[VALID] = torch.ones_like(_plain(case["image"])[:1])
        return maps

    def _view(self, view: str, weak: Tensor, seed: int) -> Tensor:
        if view == WEAK:
            return weak
        image = _transformed(self.strong, {"image": weak.clone()}, seed_of(seed, view))["image"]
        return _plain(image).to(torch.float32).contiguous()


def _transformed(transform: Augmentation | None, item: dict[str, Any], seed: int) -> dict[str, Any]:
    """The item under a random transform of that seed."""
    if transform is None:
        return item
    set_random_state = getattr(transform, "set_random_state", None)
    if set_random_state is not None:
        set_random_state(seed=seed)
    transformed = transform(item)
    if not isinstance(transformed, dict):
        raise ValueError(f"augmentation must give one dictionary, got {type(transformed).__name__}")
    return transformed


def collate_two_stream(
    items: Sequence[Mapping[str, Tensor] | InputError], *, labeled_rows: int | None = None
) -> TwoStreamBatch | InputError:
    """Stack rows of which the first have labels.

    Args:
        items: rows from :class:`SeededDataset`, labelled ones first.
        labeled_rows: how many rows must carry a label; not checked by default.

    Returns:
        ``image`` ``(L, C, *S)``, ``label`` ``(L, *S)`` and ``unlabeled``, each view ``(U, C, *S)`` by its
        name, ``annotation`` ``(U, *S)``; ``valid`` ``(U, *S)`` where a voxel of these rows is padding. An
        :class:`InputError` among the rows is handed through.

    Raises:
        ValueError: a row without a label stands before one with a label, the number of labels is not
            ``labeled_rows``, or rows differ in shape.
    """
    rows: list[Mapping[str, Tensor]] = []
    for item in items:
        if isinstance(item, InputError):
            return item
        rows.append(item)
    count = sum("label" in row for row in rows)
    labeled, unlabeled = rows[:count], rows[count:]
    if not labeled or any("label" not in row for row in labeled):
        raise ValueError(f"labelled rows must come first, got {['label' in row for row in rows]}")
    if labeled_rows is not None and count != labeled_rows:
        raise ValueError(f"{labeled_rows} rows may carry a label, got {count}")
    columns = [name for name in (unlabeled[0] if unlabeled else ()) if name != VALID]
    views = [name for name in columns if name != ANNOTATION]
    images = [row["image"] for row in labeled] + [row[name] for row in unlabeled for name in views]
    maps = [row["label"] for row in labeled] + [row[ANNOTATION] for row in unlabeled if ANNOTATION in row]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1 or any(entry.shape != images[0].shape[1:] for entry in maps):
        raise ValueError(f"rows differ in shape, got images {sorted(shapes)}: crop or pad to one patch size")
    batch: TwoStreamBatch = {name: torch.stack([row[name] for row in labeled]) for name in ("image", "label")}
    batch["unlabeled"] = {name: torch.stack([row[name] for row in unlabeled]) for name in columns}
    if unlabeled and VALID in unlabeled[0]:
        valid = torch.stack([row[VALID] for row in unlabeled])
        if not valid.all():
            batch[VALID] = valid
    return batch


class TwoStreamLoader(DataLoader[TwoStreamBatch]):
    """A torch ``DataLoader`` that raises the :class:`InputError` of a worker as what it is."""

    def __iter__(self) -> Iterator[TwoStreamBatch]:  # type: ignore[override]
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
    views: Sequence[str] = (WEAK,),
    strong: Augmentation | None = None,
    valid: bool = False,
    partners: bool = False,
    labeled_view: str = WEAK,
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
        views: those of an unlabelled row that the method wants; none for no unlabelled row at all.
        strong: random MONAI transform of intensities that makes the strong views; see :class:`SeededDataset`.
        valid: whether batches say which voxels of the unlabelled rows are padding.
        partners: whether as many unlabelled rows again stand behind those to be learnt from
            (:attr:`medssl.methods.Method.partners`).
        labeled_view: that of the labelled rows (:attr:`medssl.methods.Method.labeled_view`).
        labeled_per_batch: labelled rows of a batch.
        unlabeled_per_batch: unlabelled rows of a batch, partners not counted.
        seed: seed of order and augmentation.
        num_workers: processes that augment; 0 for none.
        start: step of the first batch.

    Raises:
        InputError: as :func:`check_views`.
    """
    check_views(views, strong=strong, unlabeled_per_batch=unlabeled_per_batch, labeled_view=labeled_view)
    sampler = TwoStreamBatchSampler(
        num_labeled,
        len(dataset) - num_labeled,
        labeled_per_batch=labeled_per_batch,
        unlabeled_per_batch=unlabeled_per_batch * (2 if partners else 1) if views else 0,
        seed=seed,
        start=start,
    )
    return TwoStreamLoader(
        SeededDataset(  # type: ignore[arg-type]
            dataset, augmentation, views=views, strong=strong, valid=valid, labeled_view=labeled_view
        ),
        batch_sampler=sampler,  # type: ignore[arg-type]
        collate_fn=partial(collate_two_stream, labeled_rows=labeled_per_batch),
        num_workers=num_workers,
        persistent_workers=False,  # the stream is endless: workers start once, and end with the iterator
        pin_memory=torch.cuda.is_available(),
        # Its own generator, so that making workers draws nothing from torch's global state.
        generator=torch.Generator().manual_seed(seed + rank()),
    )


def _plain(value: Tensor) -> Tensor:
    return value.as_tensor() if isinstance(value, MetaTensor) else value


def _square_in_plane(image: Tensor) -> bool:
    """Whether a voxel's first two sides are of equal length, to 1%; true of images without a position."""
    if not isinstance(image, MetaTensor):
        return True
    first, second = image.pixdim[:2].tolist()
    return bool(abs(first - second) <= 0.01 * max(first, second))
