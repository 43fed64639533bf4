"""Scores of every image, class by class, at the resolution of its file; and those of a run of images."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ignite.engine import Engine

from medssl.common.constants import PIXEL
from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder
from medssl.evaluation.checkpoints import score_checkpoints
from medssl.evaluation.scoring import Row, Scoring, measured, numbers
from medssl.inference.scan_evaluator import ScanEvaluator
from medssl.metrics import ImageSums, MaskPair, ReliabilityMetrics, ScoredClass, find_metric
from medssl.metrics.table import CASE_METRICS, IMAGE_CLASS_METRICS

EMPTY_IN_IMAGES = (
    "Where prediction or reference has no pixel of a class in an image, the image's DSC and Jaccard are 0; "
    "where both have none, 1. mIoU is pooled over all images: a class counts where any image has it."
)
IN_SHORT = ("miou", "ece", "p_acc_cer", "p_unc_inacc", "rss")
"""Pooled metrics of the short table that ``medssl evaluate`` prints."""


class ImageMetrics(Scoring):
    """Scores every image of an evaluator, class by class, and writes them when it completes.

    Needs in the output ``label_map`` and the probabilities ``pred`` and in the batch ``reference``, all of
    the size of the reference file, and ``case``. Columns: case, class (from 0), Dice and Jaccard, unit
    ("pixel"), empty (which mask has no pixel), and of the image as a whole, the same in the row of every
    class, its reliability. Pixels of 255 were not labelled and count nowhere (but see the published protocol,
    docs/reliability.md). Surfaces are not measured: photographs show objects that are cut by their edges and
    by one another, at no known scale.

    A row is there to find images by. The numbers of a test set, mIoU above all, are pooled over its pixels:
    ``reliability_last.json`` holds them, with ``class_iou``, the IoU of every class (null for one that is
    nowhere); and ``sums_last.npz`` what they are made of, image by image
    (:class:`medssl.metrics.ImageSums`). They go to ``engine.state.metrics`` as ``miou``, ``ece`` and so on.

    Args:
        path: the CSV file, such as ``cases_last.csv``.
        num_classes: classes ``K``.
        subset: which images the evaluator is over, for the record.
        temperature: of the probabilities, likewise.
        class_names: of class 0, 1 and so on, for the summary; None where they have no names.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        num_classes: int,
        subset: Literal["test", "validation"] = "test",
        temperature: float = 1.0,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(path, num_classes=num_classes, subset=subset, temperature=temperature)
        self._titles = [f"class {label}" for label in range(num_classes)]
        if class_names and len(class_names) == num_classes:
            self._titles = list(class_names)
        self._sums: list[ImageSums] = []

    @property
    def sums(self) -> ImageSums:
        """Of the images so far; at least one."""
        return ImageSums.joined(self._sums)

    def started(self, engine: Engine) -> None:
        """Forget an earlier evaluation."""
        super().started(engine)
        self._sums = []

    def score(self, item: Mapping[str, Any]) -> tuple[list[Row], ReliabilityMetrics]:
        """The rows of an image, and its own reliability.

        Raises:
            InputError: a reference of another size, or one with a class that the model does not know.
        """
        predicted = item["label_map"][0].numpy()
        reference = item["reference"].as_tensor()[0].numpy().astype(np.int64)
        _check_reference(item["reference"], predicted.shape)
        metrics = ReliabilityMetrics(self.num_classes)
        metrics.update(item["pred"][None].float(), reference[None])
        self._sums.append(ImageSums.of(str(item["case"]), metrics))
        reliability = metrics.compute()
        rows = []
        for label in range(self.num_classes):
            masks = MaskPair(predicted, reference, label=label)
            scored = ScoredClass(masks, 0.0, reliability)
            row: Row = {"case": str(item["case"]), "class": label}
            row |= measured(IMAGE_CLASS_METRICS, scored)
            row |= {"unit": PIXEL, "empty": masks.empty}
            row |= measured(CASE_METRICS, scored)
            rows.append(row)
        return rows, metrics

    def completed(self, engine: Engine) -> None:
        """Write rows, pooled numbers and sums, and hand the pooled numbers to the engine."""
        if self._sums:
            run_sums = self.path.with_name(self.path.stem.replace("cases", "sums", 1) + ".npz")
            self.sums.save(run_sums)
        super().completed(engine)
        engine.state.metrics |= self.pooled.compute()

    def more(self) -> dict[str, Any]:
        """The IoU of every class."""
        return {"class_iou": list(numbers(dict(enumerate(self.pooled.iou.per_class()))).values())}

    @property
    def conventions(self) -> dict[str, Any]:
        """Unit, region of the reliability, and empty masks; no distance of surfaces is measured."""
        return {
            "unit": PIXEL,
            "nsd_tolerance": "no surfaces in images",
            "region": "image",
            "empty": EMPTY_IN_IMAGES,
        }

    def summary(self) -> str:
        """The pooled numbers and the IoU of every class."""
        pooled = self.pooled.compute()
        lines = [f"{len(self._sums)} images, pooled over their pixels"]
        for name in IN_SHORT:
            metric = find_metric(name)
            lines.append(f"  {metric.heading(PIXEL):<16}{metric.text(pooled[name]):>9}")
        jaccard = find_metric("miou")
        width = max(16, *(len(f"IoU of {title}") + 1 for title in self._titles))
        for title, value in zip(self._titles, self.pooled.iou.per_class(), strict=True):
            lines.append(f"  {f'IoU of {title}':<{width}}{jaccard.text(value):>9}")
        return "\n".join(lines)


def evaluate_images(
    evaluator: ScanEvaluator,
    *,
    run_dir: str | Path,
    num_classes: int,
    checkpoints: Sequence[Literal["best", "last"]] = ("best", "last"),
    subset: Literal["test", "validation"] = "test",
    class_names: Sequence[str] | None = None,
    split_sha256: str | None = None,
    channels_last: bool = True,
    allow: Collection[str] = (),
    overwrite: bool = False,
) -> dict[str, list[Row]]:
    """:func:`medssl.evaluation.evaluate_run` for a run of images, with :class:`ImageMetrics`.

    Args:
        evaluator: over the test images, with ``reference`` and ``case``; its predictor keeps probabilities,
            and its networks give way to each checkpoint's.
        run_dir: folder of the run.
        num_classes: classes ``K``.
        checkpoints: which of the two.
        subset: which images the evaluator is over; in the names of the files and in ``policy``.
        class_names: of class 0, 1 and so on, for what is printed.
        split_sha256: hash of the case lists, which stands with the scores.
        channels_last: memory layout of the weights.
        allow: see :func:`~medssl.inference.load_deployment`.
        overwrite: replace scores that are there already.

    Returns:
        The rows of each checkpoint.

    Raises:
        InputError: as :func:`medssl.evaluation.evaluate_run`.
    """
    scorings = score_checkpoints(
        evaluator,
        partial(ImageMetrics, num_classes=num_classes, class_names=class_names),
        run_dir=run_dir,
        checkpoints=checkpoints,
        subset=subset,
        split_sha256=split_sha256,
        channels_last=channels_last,
        allow=allow,
        overwrite=overwrite,
    )
    return {name: scoring.rows for name, scoring in scorings.items()}


def pooled_table(run: RunFolder, checkpoints: Sequence[str], subset: str = "test") -> str:
    """What matters most of a scored run of images, a line a checkpoint.

    Args:
        run: the run.
        checkpoints: those that were scored.
        subset: which images.
    """
    metrics = [find_metric(name) for name in IN_SHORT]
    titles = "".join(f"{metric.heading(PIXEL):>14}" for metric in metrics)
    lines = [f"{'':8}{'images':>7}{titles}   pooled over pixels"]
    for checkpoint in checkpoints:
        sums = ImageSums.load(run.sums(checkpoint, subset))
        pooled = sums.pooled()
        cells = "".join(f"{metric.text(float(pooled[metric.name][0])):>14}" for metric in metrics)
        lines.append(f"{checkpoint:8}{len(sums.cases):>7}{cells}")
    return "\n".join(lines)


def _check_reference(reference: Any, predicted: tuple[int, ...]) -> None:
    """Refuse a reference of another size than its image, which the prediction has."""
    sizes = [" x ".join(map(str, shape)) for shape in (tuple(reference.shape[1:]), predicted)]
    if sizes[0] != sizes[1]:
        where = reference.meta["filename_or_obj"]
        raise InputError(where, f"is {sizes[0]} pixels, its image {sizes[1]}", "match the files")
