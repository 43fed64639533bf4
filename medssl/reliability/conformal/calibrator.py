"""Split conformal prediction for maps of class probabilities: the calibrator of ConformalSAM."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from medssl.common.errors import InputError, unknown_name
from medssl.reliability.conformal.quantiles import conformal_quantile, row_quantiles
from medssl.reliability.conformal.regions import REGIONS, annulus_regions, cluster_regions
from medssl.reliability.conformal.scores import (
    ABSENT,
    ArrayLike,
    image_scores,
    labeled_image,
    nearest,
    nonconformity,
)
from medssl.reliability.conformal.sets import labels_of_sets
from medssl.reliability.measures import full_precision

Pooling = Literal["pixel", "image", "kmeans", "genann"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


class ConformalCalibrator(nn.Module):
    """Sets of classes that hold the true one with probability ``1 - alpha``, in 2D and 3D.

    The score of a pixel is ``1 - P(y)`` of its reference class ``y``; ignored pixels have none. A set holds
    every class whose score is at most the calibration quantile, the ``ceil((n + 1) (1 - alpha))``-th smallest
    of ``n`` scores (:func:`~medssl.reliability.conformal.conformal_rank`), or every class where ``n`` is too
    small for the level. Source: "ConformalSAM: Unlocking the Potential of Foundational Segmentation Models in
    Semi-Supervised Semantic Segmentation with Conformal Prediction" (ICCV 2025); the poolings are those of
    "Kandinsky Conformal Prediction" (CVPR 2024). ``docs/conformal.md`` holds the table "paper, medssl".

    Which scores one quantile is taken of, the *pooling*:

    - ``"pixel"``: those of one place of the grid, at most one an image;
    - ``"kmeans"``: those of places with like scores, four clusters;
    - ``"genann"``: those of one of four rings about a centre, images alone;
    - ``"image"``: all of them, at the labels' own size, without a grid.

    A place (cluster, ring) of fewer than ``min_scores`` scores takes the quantile over the whole image.

    What is promised. With ``"pixel"`` and images that are exchangeable with the calibration images (drawn
    alike, none of them used to train what gives the probabilities), a labelled pixel at a place with ``n``
    scores has its class in the set with a probability of at least ``1 - alpha``, and of at most
    ``1 - alpha + 1 / (n + 1)`` where no two scores are equal. It is an average: over calibration sets, over
    images, and over classes unless ``per_class``; not of this image, nor of each class. What is not promised:
    pixels of one image are not independent draws, so with the other three, and where ``"pixel"`` falls back,
    ``n`` counts pixels and says nothing of how sure the quantile is. Coverage then nears ``1 - alpha`` as the
    number of **images** grows, and with few it may miss it by far more than ``1 / (n + 1)``. Clusters and
    rings are also chosen on the scores that they pool.

    What it has learnt are its buffers: ``thresholds``, the quantiles ``(Q, *grid)``, ``(Q,)`` for
    ``"image"``, with ``Q`` of 1 or the number of classes; ``counts``, the scores behind each, before any
    fallback; ``regions``, int8 ``(Q, *grid)``, the cluster or ring of each place (-1: none; empty for the
    other poolings); ``fallbacks``, how many of the thresholds are those of the whole image; ``images`` and
    ``num_classes``; ``settings``, for which see :meth:`from_state_dict`.

    Args:
        alpha: accepted risk, in (0, 1).
        pooling: see above.
        grid: to which images and volumes are brought, probabilities linearly, labels by nearest neighbour;
            ``"image"`` does not look at it.
        finite_sample: False takes the ``ceil(n (1 - alpha))``-th smallest score instead, which covers too
            little where ``n`` is small.
        min_scores: see above, at least 1.
        per_class: one quantile for each class, of the scores of its own pixels (Mondrian, as Kandinsky has
            it), so that each class is covered; ConformalSAM pools classes. A class of fewer than
            ``min_scores`` scores altogether takes the quantile of all classes.
        seed: of clusters and rings.

    Raises:
        InputError: an unknown pooling, or a number out of range.

    >>> probs = torch.tensor([[0.9, 0.8, 0.3, 0.6], [0.1, 0.2, 0.7, 0.4]])
    >>> calibrator = ConformalCalibrator(0.2, pooling="image").fit([(probs, torch.tensor([0, 0, 1, 1]))])
    >>> calibrator.thresholds
    tensor([0.6000])
    >>> calibrator.prediction_sets(probs[None])[0].int()
    tensor([[1, 1, 0, 1],
            [0, 0, 1, 1]], dtype=torch.int32)
    """

    thresholds: Tensor
    counts: Tensor
    regions: Tensor
    fallbacks: Tensor
    images: Tensor
    num_classes: Tensor
    settings: Tensor

    def __init__(
        self,
        alpha: float = 0.05,
        pooling: Pooling = "pixel",
        *,
        grid: tuple[int, ...] = (512, 512),
        finite_sample: bool = True,
        min_scores: int = 20,
        per_class: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise unknown_name("pooling", str(pooling), POOLINGS)
        if not 0 < alpha < 1:
            raise InputError(f"alpha={alpha}", "out of range", "give a risk between 0 and 1, such as 0.05")
        if min_scores < 1:
            raise InputError(f"min_scores={min_scores}", "out of range", "give at least 1")
        if pooling != "image" and (not grid or min(grid) < 1):
            raise InputError(f"grid={tuple(grid)}", "has no places", "give a length of each axis")
        if pooling == "genann" and len(grid) != 2:
            raise InputError(
                "pooling=genann", "has rings in a plane and none in volumes", "use kmeans or image"
            )
        self.alpha, self.pooling, self.grid = alpha, pooling, tuple(int(side) for side in grid)
        self.finite_sample, self.min_scores, self.per_class = finite_sample, min_scores, per_class
        self.seed = seed
        for name, dtype in (("thresholds", torch.float32), ("counts", torch.int64), ("regions", torch.int8)):
            self.register_buffer(name, torch.zeros(0, dtype=dtype))
        for name in ("fallbacks", "images", "num_classes"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        numbers = (alpha, POOLINGS.index(pooling), finite_sample, min_scores, per_class, seed, *self.grid)
        self.register_buffer("settings", torch.tensor([float(n) for n in numbers], dtype=torch.float64))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "ConformalCalibrator":
        """The fitted calibrator of a ``state_dict()``, with the settings that it was fitted with.

        ``load_state_dict`` of a calibrator with other settings refuses the state.

        Raises:
            InputError: not the state of a calibrator.
        """
        try:
            alpha, pooling, finite, min_scores, per_class, seed, *grid = state["settings"].tolist()
            calibrator = cls(
                alpha,
                POOLINGS[int(pooling)],
                grid=tuple(int(side) for side in grid),
                finite_sample=bool(finite),
                min_scores=int(min_scores),
                per_class=bool(per_class),
                seed=int(seed),
            )
            calibrator.load_state_dict(dict(state))
        except (KeyError, IndexError, AttributeError, ValueError, RuntimeError) as error:
            raise InputError("calibrator", "is no state of a calibrator", "fit it again") from error
        return calibrator

    @property
    def fitted(self) -> bool:
        """Whether :meth:`fit` was called, or a fitted state loaded."""
        return self.thresholds.numel() > 0

    def extra_repr(self) -> str:
        """The settings."""
        where = "" if self.pooling == "image" else f", grid={self.grid}"
        plain = "" if self.finite_sample else ", finite_sample=False"
        return f"{self.alpha}, {self.pooling!r}{where}, per_class={self.per_class}{plain}"

    @torch.no_grad()
    def fit(
        self, pairs: Iterable[tuple[ArrayLike, ArrayLike]] | ArrayLike, labels: ArrayLike | None = None
    ) -> "ConformalCalibrator":
        """Take the quantiles of labelled images that trained nothing of what gave the probabilities.

        Images are read once, one after the other; one float for each place (each labelled pixel for
        ``"image"``) is kept of each while it lasts.

        Args:
            pairs: for each image probabilities ``(K, *S)`` and labels ``(*T)``, integer class ids with 255
                where ignored; the two need not be of one size, nor the images. Or all images of one size as
                a batch ``(B, K, *S)``.
            labels: ``(B, *T)`` for a batch; None for pairs.

        Returns:
            The calibrator itself.

        Raises:
            InputError: no image, no labelled pixel, or volumes with a grid of two axes.
            ValueError: shapes that do not belong together, probabilities that are no numbers, or class ids
                that have none.
        """
        images: Iterable[tuple[Any, Any]] = pairs if labels is None else zip(pairs, labels, strict=True)
        scores, classes, num_classes = [], [], 0
        for number, (image_probs, image_labels) in enumerate(images):
            probs, truth = labeled_image(image_probs, image_labels, number)
            if self.pooling != "image" and truth.ndim != len(self.grid):
                raise InputError(
                    f"grid={self.grid}",
                    f"has {len(self.grid)} axes, the images have {truth.ndim}",
                    "give a grid of as many axes, or pooling='image', which needs none",
                )
            if number and len(probs) != num_classes:
                raise ValueError(f"image {number} has {len(probs)} classes, those before it {num_classes}")
            num_classes = len(probs)
            of_image, ids = image_scores(probs, truth, None if self.pooling == "image" else self.grid)
            scores.append(of_image)
            classes.append(ids)
        if not any(bool((of_image < ABSENT).any()) for of_image in scores):
            raise InputError(
                "calibration", f"no labelled pixel in {len(scores)} images", "give images with labels"
            )
        self._take_quantiles(scores, classes, num_classes)
        self.images.fill_(len(scores))
        self.num_classes.fill_(num_classes)
        return self

    def _take_quantiles(self, scores: list[Tensor], classes: list[Tensor], num_classes: int) -> None:
        groups: tuple[int | None, ...] = tuple(range(num_classes)) if self.per_class else (None,)
        everything = torch.cat(scores)
        present = everything < ABSENT
        pooled = self._quantile(everything[present])
        rows = []
        for group in groups:
            if group is None:
                whole, own = pooled, scores
            else:
                of_class = everything[present & (torch.cat(classes) == group)]
                whole = pooled if len(of_class) < self.min_scores else self._quantile(of_class)
                own = [s.where(ids == group, ABSENT) for s, ids in zip(scores, classes, strict=True)]
            rows.append(
                self._pooled_row(own, whole) if self.pooling != "image" else self._image_row(own, whole)
            )
        shape = (len(groups),) if self.pooling == "image" else (len(groups), *self.grid)
        thresholds, counts, regions, fallen = zip(*rows, strict=True)
        self.thresholds = torch.stack(thresholds).view(shape).to(self.thresholds.device)
        self.counts = torch.stack(counts).view(shape).to(self.counts.device)
        self.fallbacks.fill_(sum(fallen))
        if self.pooling in ("kmeans", "genann"):
            self.regions = torch.stack(regions).view(shape).to(self.regions.device)

    def _image_row(self, scores: list[Tensor], whole: float) -> tuple[Tensor, Tensor, Tensor, int]:
        count = sum(int((of_image < ABSENT).sum()) for of_image in scores)
        fallen = self.per_class and count < self.min_scores
        return torch.tensor(whole), torch.tensor(count), torch.empty(0), int(fallen)

    def _pooled_row(self, scores: list[Tensor], whole: float) -> tuple[Tensor, Tensor, Tensor, int]:
        """Thresholds, counts and regions ``(L,)`` of one group of scores, and the number of fallbacks."""
        ordered = torch.stack(scores, 1).sort(1).values
        counts = (ordered < ABSENT).sum(1)
        if self.pooling == "pixel":
            regions = torch.empty(0)
            thresholds = row_quantiles(ordered, counts, self.alpha, finite_sample=self.finite_sample)
        else:
            regions, thresholds, counts = self._region_quantiles(ordered, counts)
        few = counts < self.min_scores
        return thresholds.masked_fill(few, whole), counts, regions, int(few.sum())

    def _region_quantiles(self, ordered: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Regions, and the quantiles and counts of the region of each place."""
        if not counts.any():
            regions = torch.full_like(counts, -1, dtype=torch.int8)
        elif self.pooling == "kmeans":
            regions = cluster_regions(ordered, counts, seed=self.seed)
        else:
            regions = annulus_regions(ordered, counts, (self.grid[0], self.grid[1]), seed=self.seed)
        thresholds, pooled_counts = torch.ones(len(counts)), torch.zeros_like(counts)
        for region in range(REGIONS):
            inside = regions == region
            of_region = ordered[inside]
            of_region = of_region[of_region < ABSENT]
            if len(of_region):
                thresholds[inside] = self._quantile(of_region)
                pooled_counts[inside] = len(of_region)
        return regions, thresholds, pooled_counts

    def _quantile(self, scores: Tensor) -> float:
        return conformal_quantile(scores, self.alpha, finite_sample=self.finite_sample)

    @torch.no_grad()
    def prediction_sets(self, probs: Tensor) -> Tensor:
        """The classes that a pixel may be of.

        Args:
            probs: ``(B, K, *S)`` of any size; the thresholds are brought to it by nearest neighbour. Bring
                maps that are coarser than the image to its size first, as :meth:`fit` does.

        Returns:
            Bool ``(B, K, *S)``. A set may be empty.

        Raises:
            InputError: nothing was fitted.
            ValueError: another number of classes or of axes than in the calibration.
        """
        if not self.fitted:
            raise InputError("calibrator", "has no quantiles yet", "call fit with labelled images first")
        if probs.ndim < 3 or probs.shape[1] != int(self.num_classes):
            raise ValueError(f"probs must be (B, {int(self.num_classes)}, *S), got {tuple(probs.shape)}")
        if self.pooling == "image":
            thresholds = self.thresholds.view(1, -1, *[1] * (probs.ndim - 2))
        elif probs.ndim - 2 != len(self.grid):
            raise ValueError(
                f"probs must have the {len(self.grid)} axes of the grid, got {tuple(probs.shape)}"
            )
        else:
            thresholds = nearest(self.thresholds, tuple(probs.shape[2:])).unsqueeze(0)
        return nonconformity(probs) <= thresholds.to(probs.device)

    @torch.no_grad()
    def calibrated_labels(self, probs: Tensor, background: int | None = 0) -> Tensor:
        """Pseudo-labels of the sets: see :func:`~medssl.reliability.conformal.labels_of_sets`.

        Args:
            probs: as for :meth:`prediction_sets`.
            background: class id that gives way to every other class of a set; None where there is none such.

        Returns:
            int64 ``(B, *S)``, 255 where the set is empty.

        Raises:
            InputError: as :meth:`prediction_sets`, or ``background`` that is no class.
        """
        sets = self.prediction_sets(probs)
        if background is not None and not 0 <= background < probs.shape[1]:
            raise InputError(
                f"background={background}", "is no class", f"give 0 to {probs.shape[1] - 1} or None"
            )
        return labels_of_sets(sets, full_precision(probs), background=background)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Take the shapes of what is loaded, which depend on what was fitted; refuse other settings."""
        settings = state_dict.get(prefix + "settings")
        if settings is not None and settings.tolist() != self.settings.tolist():
            raise InputError(
                "calibrator",
                f"was fitted with other settings than alpha={self.alpha}, pooling={self.pooling}, ...",
                "fit it again, or build it by ConformalCalibrator.from_state_dict",
            )
        for name in ("thresholds", "counts", "regions"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, torch.empty_like(stored, device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *args)
