"""How good the pseudo-labels of a training are, judged with labels that training never sees."""

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError, find_input_error
from medssl.common.files import write_csv
from medssl.common.rng import get_rng_state, set_rng_state
from medssl.common.run_folder import (
    PSEUDO_LABEL_COLUMNS,
    PSEUDO_LABEL_RATES,
    SELECTION_STATISTICS,
    UNSELECTED_RATES,
)
from medssl.data import SeededDataset
from medssl.data.batches.loader import WEAK
from medssl.data.reading.annotations import ANNOTATION
from medssl.methods import PseudoLabels
from medssl.metrics import ClassSelectionCounts, SelectionQuality
from medssl.reliability import Selection, Selector, choose
from medssl.training.trainer import SemiSupervisedTrainer

logger = logging.getLogger(__name__)


class SelectorRecord(ClassSelectionCounts):
    """Counts of one selector, and the statistics that its selections carried."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.statistics: dict[str, list[float]] = {}

    def add(self, selection: Selection, truth: Tensor) -> None:
        """Add a batch."""
        self.update(selection.labels, selection.mask, truth)
        for name in SELECTION_STATISTICS:
            if name in selection.statistics:
                self.statistics.setdefault(name, []).append(float(selection.statistics[name]))


class PseudoLabelQuality:
    """Writes ``pseudo_labels.csv``: TPR, FPR, PPV and NPV of the selected pseudo-labels over training.

    Every ``interval`` epochs the method is asked what it would train on now
    (:meth:`medssl.methods.Method.pseudo_labels`), for one patch of each of some unlabelled training cases
    whose labels were kept aside; one that learns from an annotator is shown that annotator's labels, too. The
    patches are drawn once, as training draws its own: by the same augmentation, with a seed that depends on
    the case's place alone. Networks are in training mode, as in a step (dropout, batch statistics);
    afterwards running statistics and random generators are put back, so that a training with this handler
    ends bit for bit like one without. A training without pseudo-labels writes no file.

    One row for each selector and class. The class ``all`` is the selection as a whole: ``tpr``, the share of
    the right pseudo-labels that is selected, ``fpr``, that of the wrong ones (AgScore's Figures 1 and 3),
    ``ppv``, the share of the selected that is right, ``npv``, the share of the others that is wrong;
    ``ppv_all`` is the share of all pseudo-labels that is right. A row of class k judges "is k" among the
    selected voxels (TCSeg's Figure 4; :meth:`medssl.metrics.ClassSelectionCounts.compute_class`), and
    ``*_all`` the same without a selection. A method's own selections are one selector under the method's
    name, the counts of its decoders added up. The others are asked in evaluation mode, in which they learn
    nothing; padding of images, black where the label is ignored, is no pixel to them, and ignored labels
    judge nothing. One that needs what the method does not hand over is left out, with a warning. Where a
    selector gives them, ``separation`` and ``fallback`` follow in the row ``all``, mean over the batches.

    With several processes the first one measures.

    Args:
        path: the CSV file.
        cases: items with ``image`` and ``label``: the labels come from a list of their own
            (``hidden_labels`` of a datalist) and reach nothing but this handler.
        preprocessing: the training's, for image and label.
        augmentation: the training's, which crops the patch.
        num_classes: classes ``K``.
        name: of the method's own selector.
        selectors: others to judge on the same views, by name.
        interval: epochs between two measurements.
        max_cases: at most so many cases, evenly spread over the list.
        batch_size: patches at a time.
        seed: of the patches.

    Raises:
        ValueError: ``interval`` or ``batch_size`` below 1.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        cases: Sequence[Mapping[str, Any]],
        preprocessing: Any,
        augmentation: Any,
        num_classes: int,
        name: str,
        selectors: Mapping[str, Selector] | None = None,
        interval: int = 1,
        max_cases: int = 8,
        batch_size: int = 2,
        seed: int = 0,
    ) -> None:
        for argument, value in (("interval", interval), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{argument} must be at least 1, got {value}")
        self.path, self.num_classes, self.name = Path(path), num_classes, name
        spread = max(1, math.ceil(len(cases) / max_cases)) if max_cases > 0 else 0
        self.cases = list(cases[::spread][:max_cases]) if spread else []
        self.preprocessing, self.augmentation = preprocessing, augmentation
        self.selectors = dict(selectors or {})
        self.interval, self.batch_size, self.seed = interval, batch_size, seed
        self._patches: list[dict[str, Tensor]] | None = None
        self._rows: list[dict[str, Any]] = []
        self._left_out: set[str] = set()

    def attach(self, engine: SemiSupervisedTrainer) -> None:
        """Judge the training of this engine; nothing where there is no case."""
        if engine.state.rank != 0 or not self.cases:
            return
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self.epoch_completed)

    def started(self, engine: SemiSupervisedTrainer) -> None:
        """Keep the rows up to the step that training continues from."""
        self._rows = []
        if engine.state.iteration and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as table:
                self._rows = [
                    row for row in csv.DictReader(table) if int(row["step"]) <= engine.state.iteration
                ]
        elif self.path.is_file():
            self.path.unlink()

    def epoch_completed(self, engine: SemiSupervisedTrainer) -> None:
        """Judge, and write the file anew."""
        measured = self.measure(engine)
        if not measured:
            return
        for name, counts in measured.items():
            self._rows += self._rows_of(engine, name, counts)
        said = [name for name in SELECTION_STATISTICS if any(name in row for row in self._rows)]
        write_csv(self.path, self._rows, columns=(*PSEUDO_LABEL_COLUMNS, *said))

    def measure(self, engine: SemiSupervisedTrainer) -> dict[str, SelectorRecord] | None:
        """Counts by selector of what the method would train on now; None where it has no pseudo-labels."""
        device, method = torch.device(engine.state.device), engine.method
        rng, training = get_rng_state(device), method.training
        buffers = [buffer.clone() for buffer in method.buffers()]
        records: dict[str, SelectorRecord] = {}
        try:
            patches = self._load(annotated=ANNOTATION in method.views)
            torch.manual_seed(self.seed + engine.state.iteration)
            method.train()
            for start in range(0, len(patches), self.batch_size):
                rows = patches[start : start + self.batch_size]
                shown = {key: torch.stack([row[key] for row in rows]).to(device) for key in rows[0]}
                images, truth = shown.pop("image"), shown.pop("label")
                valid = _valid(images, truth)
                asked: dict[str, Any] = {**shown, **({"valid": valid} if method.wants_valid else {})}
                with torch.no_grad(), engine.autocast():
                    pseudo = method.pseudo_labels(images, **asked)
                    if pseudo is None:
                        return None
                    selections = [(self.name, own) for own in pseudo.selections.values()]
                    selections += self._ask_others(pseudo, valid)
                for name, selection in selections:
                    records.setdefault(name, SelectorRecord(self.num_classes)).add(selection, truth)
        finally:
            for buffer, before in zip(method.buffers(), buffers, strict=True):
                buffer.copy_(before)
            method.train(training)
            set_rng_state(rng, device)
        return records

    def _ask_others(self, pseudo: PseudoLabels, valid: Tensor | None) -> list[tuple[str, Selection]]:
        """What the other selectors believe of the same views."""
        selections = []
        for name, selector in self.selectors.items():
            training = selector.training
            selector.to(pseudo.views[0].device).eval()
            try:
                selection = choose(selector, pseudo.views, features=pseudo.features, valid=valid)
                selections.append((name, selection))
            except InputError as fault:
                if name not in self._left_out:
                    logger.warning("selector %s is left out of the pseudo-labels' quality: %s", name, fault)
                self._left_out.add(name)
            finally:
                selector.train(training)
        return selections

    def _load(self, *, annotated: bool) -> list[dict[str, Tensor]]:
        """The patches ``image`` ``(C, *S)``, with ``label`` and ``annotation`` ``(*S)``, drawn at first."""
        if self._patches is None:
            cases = [case for item in self.cases if (case := self._preprocess(item)) is not None]
            views = (WEAK, ANNOTATION) if annotated else (WEAK,)
            dataset = SeededDataset(cases, self.augmentation, views=views)
            rows = [dataset[index, self.seed + index] for index in range(len(dataset))]
            # An error is returned in a worker only.
            self._patches = [row for row in rows if isinstance(row, dict)]
        return self._patches

    def _preprocess(self, item: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The case; None, with a warning, where it cannot be used: a training does not end for that."""
        try:
            case: Mapping[str, Any] = self.preprocessing(dict(item))
        except Exception as error:
            fault = find_input_error(error)
            if fault is None:
                raise
            logger.warning("left out of the pseudo-labels' quality: %s", fault)
            return None
        return case

    def _rows_of(
        self, engine: SemiSupervisedTrainer, name: str, counts: SelectorRecord
    ) -> list[dict[str, Any]]:
        overall = counts.compute()
        right = int(counts.counts.diagonal(dim1=1, dim2=2).sum())
        share = right / overall.pixels if overall.pixels else math.nan
        rows = [self._row(engine, name, "all", overall, (share, math.nan, math.nan))]
        for statistic, values in counts.statistics.items():
            mean = sum(values) / len(values)
            rows[0][statistic] = round(mean, 6) if math.isfinite(mean) else ""
        of_images = any(patch["label"].ndim == 2 for patch in self._patches or ())
        first = 0 if of_images else 1  # class 0 is background in scans alone
        for label in range(first, self.num_classes):
            unselected = counts.compute_class(label, everything=True)
            compared = (unselected.ppv, unselected.npv, unselected.tpr)
            rows.append(self._row(engine, name, label, counts.compute_class(label), compared))
        return rows

    @staticmethod
    def _row(
        engine: SemiSupervisedTrainer,
        name: str,
        label: int | str,
        quality: SelectionQuality,
        compared: tuple[float, float, float],
    ) -> dict[str, Any]:
        shares = {column: getattr(quality, column) for column in ("coverage", *PSEUDO_LABEL_RATES)}
        shares |= dict(zip(UNSELECTED_RATES, compared, strict=True))
        row: dict[str, Any] = {"step": engine.state.iteration, "selector": name, "class": label}
        row["voxels"] = quality.pixels
        return row | {
            column: "" if math.isnan(share) else round(share, 6) for column, share in shares.items()
        }


def _valid(images: Tensor, truth: Tensor) -> Tensor | None:
    """The pixels that are no padding, as an image is padded: black, and ignored; None where all are."""
    padding = (images == 0).all(1) & (truth == IGNORE)
    return ~padding if padding.any() else None
