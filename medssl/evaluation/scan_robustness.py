"""A trained model on corrupted scans, without any fine-tuning."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from medssl.common.errors import InputError, unknown_name
from medssl.common.files import write_text
from medssl.common.progress import track
from medssl.data.corruptions import VOLUME_CORRUPTIONS, CorruptVolumed
from medssl.data.reading.loading import LoadCased
from medssl.evaluation.case_metrics import foreground_box
from medssl.inference.predictor import Predictor
from medssl.metrics import ReliabilityMetrics, dice

MEASURES = ("dice", "ece", "p_acc_cer", "p_unc_inacc", "miou", "rss")
"""What is reported of a cell: Dice is the mean over cases and classes, the others are pooled over voxels."""

CLEAN = ("clean", 0)
Cell = tuple[str, int]


def cells_of(
    corruptions: Sequence[str],
    severities: Sequence[int],
    *,
    known: Collection[str] = tuple(VOLUME_CORRUPTIONS),
) -> list[Cell]:
    """The clean scans, then every corruption at every severity.

    Raises:
        InputError: an unknown corruption, or a severity that there is not.
    """
    for name in corruptions:
        if name not in known:
            raise unknown_name("corruption", name, known)
    for severity in severities:
        if severity not in range(1, 6):
            raise InputError(f"severity {severity}", "not from 1 to 5", "choose among these")
    return [CLEAN, *((name, severity) for name in corruptions for severity in severities)]


def measure_cell(
    cell: Cell,
    items: Sequence[Mapping[str, Any]],
    *,
    transform: Compose,
    predictor: Predictor,
    reference: LoadCased,
    seed: int = 0,
    margin: float | None = None,
) -> dict[str, float]:
    """All :data:`MEASURES` of a model on cases that are corrupted in one way.

    Args:
        cell: corruption and severity; ``("clean", 0)`` for none.
        items: with ``case``, ``image`` and ``label``.
        transform: the preprocessing; its first transform loads the image.
        predictor: the model; it must keep probabilities.
        reference: loads the labels.
        seed: of the corruptions.
        margin: region of the reliability: None for the whole scan, or mm around prediction and reference.
    """
    name, severity = cell
    load, *rest = transform.transforms
    steps = [load]
    if severity:
        steps.append(CorruptVolumed("image", corruption=name, severity=severity, seed=seed))
    pooled = ReliabilityMetrics(predictor.num_classes)
    scores: list[float] = []
    title = f"{name} {severity or ''}".strip()
    for item in track(items, len(items), title=title, unit="case", inner=True):
        unlabeled = {key: item[key] for key in ("case", "image", "roi") if key in item}
        loaded = Compose(steps)(unlabeled)
        affine = np.asarray(loaded["image"].meta["original_affine"], np.float64)
        prediction = predictor(Compose(rest)(loaded)["image"])
        truth = reference({"label": item["label"]})["label"][0].numpy()
        scores += [dice(prediction.labels, truth, label=k) for k in range(1, predictor.num_classes)]
        box: tuple[slice, ...] = (slice(None),) * 3
        if margin is not None:
            box = foreground_box(prediction.labels, truth, margin / np.linalg.norm(affine[:3, :3], axis=0))
        if prediction.probabilities is None:
            raise ValueError("predictor must be made with keep_probabilities=True")
        probs = torch.from_numpy(prediction.probabilities[(slice(None), *box)].astype(np.float32))
        pooled.update(probs[None], truth[box][None].astype(np.int64))
    values = pooled.compute()
    return {"dice": sum(scores) / len(scores), **{k: values[k] for k in MEASURES[1:]}}


def measure_robustness(
    folder: str | Path,
    cells: Sequence[Cell],
    items: Sequence[Mapping[str, Any]],
    *,
    identity: Mapping[str, Any],
    measure: Callable[..., dict[str, float]] | None = None,
    **settings: Any,
) -> dict[Cell, dict[str, float]]:
    """Measure every cell; a cell that is there already is kept.

    Args:
        folder: one JSON file a cell is written here.
        cells: of :func:`cells_of`.
        items: see :func:`measure_cell`.
        identity: what the numbers belong to (model, cases, seed, region); kept in every cell.
        measure: measures one cell; :func:`measure_cell` by default.
        settings: of ``measure``.

    Raises:
        InputError: no case, or a cell of another identity.
    """
    if not items:
        raise InputError("robustness", "no case with a label", "name a list of cases with labels")
    results = {}
    for cell in track(cells, len(cells), title="robustness", unit="cell"):
        path = Path(folder) / f"{cell[0]}-{cell[1]}.json"
        if path.exists():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                values = {k: math.nan if v is None else float(v) for k, v in content["values"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(path, "cannot be read", "remove it") from error
            if content.get("identity") != dict(identity):
                raise InputError(
                    path, "is of another model, case list, seed or region", "choose another folder"
                )
        else:
            values = (measure or measure_cell)(cell, items, **settings)
            plain = {k: None if math.isnan(v) else round(v, 6) for k, v in values.items()}
            text = json.dumps({"identity": dict(identity), "values": plain}, indent=2)
            write_text(path, text + "\n")
        results[cell] = values
    return results


def robustness_rows(model: str, results: Mapping[Cell, Mapping[str, float]]) -> list[dict[str, Any]]:
    """The table: value and difference to clean of every cell, and their mean over all corrupted cells."""
    clean = results[CLEAN]
    rows = [_row(model, cell, values, clean) for cell, values in results.items()]
    corrupted = [values for cell, values in results.items() if cell != CLEAN]
    if corrupted:
        mean = {k: sum(v[k] for v in corrupted) / len(corrupted) for k in clean}
        rows.append(_row(model, ("mean of corruptions", 0), mean, clean))
    return rows


def _row(model: str, cell: Cell, values: Mapping[str, float], clean: Mapping[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"model": model, "corruption": cell[0], "severity": cell[1] or ""}
    for name in clean:
        row[name] = round(values[name], 4)
        row[f"{name} - clean"] = round(values[name] - clean[name], 4)
    return row
