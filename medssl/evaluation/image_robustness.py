"""A trained model on corrupted natural images: Foggy- and Rainy-style, noise, blur, contrast, JPEG."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from PIL import Image
from torch import Tensor

from medssl.common.errors import InputError
from medssl.common.progress import track
from medssl.data.corruptions import (
    NATURAL_CORRUPTIONS,
    CorruptImaged,
    corrupt_natural_image,
    corruption_title,
)
from medssl.data.corruptions.images import DEPTH_FREE
from medssl.data.reading.loading import LoadCased
from medssl.evaluation.scan_robustness import Cell, cells_of
from medssl.inference.predictor import Predictor
from medssl.metrics import ReliabilityMetrics

NATURAL_MEASURES = ("miou", "ece", "p_acc_cer", "p_unc_inacc", "rss")
"""What is reported of a cell, pooled over the pixels of all images (Landgraf et al. 2025, Tables 2 and 3)."""

Predict = Callable[[Tensor], Tensor]
"""From images ``(1, 3, H, W)`` in [0, 1] to probabilities ``(1, K, H, W)``."""


def natural_cells(corruptions: Sequence[str], severities: Sequence[int], *, with_depth: bool) -> list[Cell]:
    """The clean images, then every corruption at every severity.

    Without depth maps fog and rain are named ``fog-depth-free`` and ``rain-depth-free``, since they are not
    those of Foggy and Rainy Cityscapes.

    Raises:
        InputError: an unknown corruption, or a severity that there is not.
    """
    clean, *cells = cells_of(corruptions, severities, known=tuple(NATURAL_CORRUPTIONS))
    return [clean, *((corruption_title(name, with_depth=with_depth), severity) for name, severity in cells)]


@torch.no_grad()
def measure_natural_cell(
    cell: Cell,
    items: Sequence[Mapping[str, Any]],
    *,
    predict: Predict,
    num_classes: int,
    seed: int = 0,
) -> dict[str, float]:
    """All :data:`NATURAL_MEASURES` of a model on images that are corrupted in one way.

    Give it to :func:`medssl.evaluation.scan_robustness.measure_robustness` as ``measure`` to keep every cell.

    Args:
        cell: of :func:`natural_cells`.
        items: with ``case``, ``image`` (an RGB file), ``label`` (a file of class ids, 255 where nobody
            labelled) and, for fog and rain as published, ``depth`` (``.npy``, ``(H, W)``, metres).
        predict: the model.
        num_classes: classes ``K``.
        seed: of the corruptions.

    Raises:
        InputError: a file that cannot be read, or an image and a label of different size; for fog or rain
            with depth, an item without a depth map.
    """
    title, severity = cell
    name, needs_depth = _named(cell)
    pooled = ReliabilityMetrics(num_classes)
    for item in track(items, len(items), title=f"{title} {severity or ''}".strip(), unit="image", inner=True):
        image = _read(item["image"], "RGB").permute(2, 0, 1).float() / 255
        labels = _read(item["label"], None)
        if labels.shape != image.shape[1:]:
            raise _other_size(item["label"], labels.shape, image.shape[1:])
        if severity:
            depth = _read_depth(item) if needs_depth else None
            image = corrupt_natural_image(
                image, name, severity, case=str(item["case"]), depth=depth, seed=seed
            )
        pooled.update(predict(image[None]).cpu(), labels[None].long())
    values = pooled.compute()
    return {name: values[name] for name in NATURAL_MEASURES}


def measure_image_cell(
    cell: Cell,
    items: Sequence[Mapping[str, Any]],
    *,
    transform: Compose,
    predictor: Predictor,
    reference: LoadCased,
    seed: int = 0,
) -> dict[str, float]:
    """All :data:`NATURAL_MEASURES` of a trained model on images that are corrupted in one way.

    What is corrupted is the image as its file holds it, before the model's preprocessing; probabilities are
    measured on the pixels of the file, so that the clean cell is what ``medssl evaluate`` scores.

    Args:
        cell: of :func:`natural_cells`.
        items: with ``case``, ``image``, ``label`` and, for fog and rain as published, ``depth``.
        transform: the preprocessing; its first transform loads the image.
        predictor: the model; it must keep probabilities.
        reference: loads the labels.
        seed: of the corruptions.

    Raises:
        InputError: as :func:`measure_natural_cell`.
    """
    title, severity = cell
    name, needs_depth = _named(cell)
    load, *rest = transform.transforms
    corrupt = [CorruptImaged("image", corruption=name, severity=severity, seed=seed)] if severity else []
    pooled = ReliabilityMetrics(predictor.num_classes)
    for item in track(items, len(items), title=f"{title} {severity or ''}".strip(), unit="image", inner=True):
        unlabeled = {"case": item["case"], "image": item["image"]}
        if needs_depth:
            unlabeled["depth"] = _read_depth(item)
        prediction = predictor(Compose([load, *corrupt, *rest])(unlabeled)["image"])
        labels = reference({"label": item["label"]})["label"][0].as_tensor()
        if labels.shape != prediction.labels.shape:
            raise _other_size(item["label"], labels.shape, prediction.labels.shape)
        if prediction.probabilities is None:
            raise ValueError("predictor must be made with keep_probabilities=True")
        probs = torch.from_numpy(prediction.probabilities.astype(np.float32))
        pooled.update(probs[None], labels[None].long())
    values = pooled.compute()
    return {name: values[name] for name in NATURAL_MEASURES}


def _named(cell: Cell) -> tuple[str, bool]:
    """The corruption of a cell, and whether it needs depth maps."""
    title, severity = cell
    name = title.removesuffix(DEPTH_FREE)
    return name, severity > 0 and name == title and corruption_title(name, with_depth=False) != name


def _other_size(label: str | Path, size: Sequence[int], image: Sequence[int]) -> InputError:
    sizes = [" x ".join(map(str, shape)) for shape in (size, image)]
    return InputError(label, f"is {sizes[0]} pixels, its image {sizes[1]}", "match the files")


def _read(path: str | Path, mode: str | None) -> Tensor:
    """A picture as integers ``(H, W)`` or ``(H, W, 3)``."""
    try:
        with Image.open(path) as picture:
            return torch.from_numpy(np.array(picture.convert(mode) if mode else picture).astype(np.int32))
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error})", "restore it or correct the list") from error


def _read_depth(item: Mapping[str, Any]) -> Tensor:
    if "depth" not in item:
        raise InputError(item["image"], "has no depth map", "give one, or ask for cells without depth")
    try:
        return torch.from_numpy(np.load(item["depth"], allow_pickle=False).astype(np.float64))
    except (OSError, ValueError) as error:
        raise InputError(item["depth"], f"cannot be read ({error})", "give a .npy of (H, W)") from error
