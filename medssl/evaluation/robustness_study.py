"""Trained models on the same corrupted scans or images: cells, table and figure in one folder."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from medssl.common.errors import InputError, unknown_name
from medssl.common.files import sha256_of_file, write_text
from medssl.data import load_datalist
from medssl.data.corruptions import NATURAL_CORRUPTIONS, VOLUME_CORRUPTIONS
from medssl.data.lists.datalist import LISTS
from medssl.evaluation.image_robustness import measure_image_cell, natural_cells
from medssl.evaluation.scan_robustness import Cell, cells_of, measure_robustness
from medssl.inference.checkpoints import refuse_training_cases
from medssl.inference.deployment import load_deployment
from medssl.reports.robustness import write_robustness


def study_robustness(
    out: str | Path,
    *,
    checkpoints: Sequence[str],
    datalist_file: str | Path,
    list_name: str = "test",
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] = (1, 3, 5),
    stride: Sequence[int] | None = None,
    amp: Literal["off", "bf16"] | None = None,
    device: torch.device | str | None = None,
    allow: Collection[str] = (),
    margin: float | None = None,
    depth_dir: str | Path | None = None,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Measure models on corrupted scans or images; cells that are there already are kept.

    Args:
        out: the folder; ``robustness.csv``, ``robustness.md``, ``radar.png``, ``settings.json`` and a JSON
            file for each cell in ``cells/MODEL``.
        checkpoints: files, each with ``NAME=`` before it or named by its run's folder.
        datalist_file: a MONAI datalist.
        list_name: the list whose cases, as far as they have labels, are measured.
        corruptions: by default all.
        severities: from 1 to 5.
        stride: voxels between two windows; by default the model's.
        amp: precision; by default the model's.
        device: by default a GPU where there is one.
        allow: see :func:`~medssl.inference.load_deployment`.
        margin: mm around prediction and reference in which reliability is measured; None for the whole scan,
            as for images.
        depth_dir: of images: folder with ``CASE.npy``, ``(H, W)`` distances to the camera in metres, for fog
            and rain as published; None for their depth-free forms.
        seed: of the corruptions.
        facts: kept in ``settings.json``.

    Returns:
        The table as Markdown.

    Raises:
        InputError: an unknown list, corruption or severity; two models of one name; a model that was trained
            on the labels of one of the cases; a cell of another model or with other settings.
    """
    if list_name not in LISTS:
        raise unknown_name("list", list_name, LISTS)
    datalist = load_datalist(datalist_file)
    items = [item for item in datalist[list_name] if "label" in item]
    results = {}
    for name, checkpoint in _by_name(checkpoints).items():
        refuse_training_cases(checkpoint, [item["case"] for item in items])
        results[name] = _measure_checkpoint(
            Path(out) / "cells" / name,
            checkpoint,
            items,
            corruptions=corruptions,
            severities=severities,
            seed=seed,
            margin=margin,
            depth_dir=depth_dir,
            allow=allow,
            label_map=datalist.get("label_map"),
            stride=stride,
            amp=amp,
            device=device,
        )
    table = write_robustness(out, results)
    write_text(Path(out) / "settings.json", json.dumps(dict(facts or {}), default=str, indent=2) + "\n")
    return table


def robustness_of_run(
    run_dir: str | Path,
    *,
    checkpoint: str,
    cases: Sequence[Mapping[str, Any]],
    subset: str,
    name: str,
    corruptions: Sequence[str] | None,
    severities: Sequence[int],
    seed: int,
    margin: float | None = None,
    depth_dir: str | Path | None = None,
    label_map: Mapping[Any, Any] | None = None,
    stride: Sequence[int] | None = None,
    amp: Literal["off", "bf16"] | None = None,
    channels_last: bool | None = None,
    device: torch.device | str | None = None,
    allow: Collection[str] = (),
) -> str:
    """Measure a checkpoint of a run on corrupted scans, and write tables and figure beside it.

    They go to ``robustness_last`` in the run's folder, or ``robustness_best_validation`` and so on, with a
    file a cell, so that an evaluation that was cut goes on.

    Args:
        run_dir: the run's folder.
        checkpoint: ``"last"`` or ``"best"``.
        cases: items with ``image`` and ``reference``.
        subset: which cases these are, ``"test"`` or ``"validation"``.
        name: of the model in the tables.
        corruptions: None for all.
        severities: from 1 to 5.
        seed: of the corruptions.
        margin: see :func:`study_robustness`.
        depth_dir: likewise.
        label_map: stored class ids that stand for others in the references.
        stride: of the windows; by default the training's, as all that follows.
        amp: precision.
        channels_last: memory layout.
        device: by default a GPU where there is one.
        allow: see :func:`~medssl.inference.load_deployment`.

    Returns:
        The table as Markdown.

    Raises:
        InputError: an unknown corruption or severity, no such checkpoint, or cells of another model.
    """
    out = Path(run_dir) / f"robustness_{checkpoint}{'' if subset == 'test' else f'_{subset}'}"
    items = [{**item, "label": item["reference"]} for item in cases]
    results = _measure_checkpoint(
        out / "cells",
        Path(run_dir) / f"{checkpoint}.pt",
        items,
        corruptions=corruptions,
        severities=severities,
        seed=seed,
        margin=margin,
        depth_dir=depth_dir,
        allow=allow,
        label_map=label_map,
        stride=stride,
        amp=amp,
        channels_last=channels_last,
        device=device,
    )
    return write_robustness(out, {name: results})


def _measure_checkpoint(
    folder: Path,
    checkpoint: str | Path,
    items: Sequence[Mapping[str, Any]],
    *,
    corruptions: Sequence[str] | None,
    severities: Sequence[int],
    seed: int,
    margin: float | None,
    depth_dir: str | Path | None,
    allow: Collection[str],
    label_map: Mapping[Any, Any] | None,
    **prediction: Any,
) -> dict[Cell, dict[str, float]]:
    """Every cell of a model, in a file each; ``prediction`` is as for ``Deployment.predictor``."""
    deployment = load_deployment([checkpoint], allow=allow)
    predictor = deployment.predictor(keep_probabilities=True, temperature=1.0, **prediction)
    identity = {
        "model": sha256_of_file(checkpoint),
        "cases": [item["case"] for item in items],
        "seed": seed,
        "margin": margin,
        "stride": predictor.stride and list(predictor.stride),
        "amp": predictor.amp,
    }
    settings: dict[str, Any] = {
        "identity": identity,
        "transform": deployment.transform,
        "predictor": predictor,
        "reference": deployment.loader("label", label_map=label_map),
        "seed": seed,
    }
    if len(predictor.patch) == 2:
        if margin is not None:
            raise InputError(f"margin {margin:g}", "is for scans, and these are images", "leave it out")
        names = corruptions or list(NATURAL_CORRUPTIONS)
        cells = natural_cells(names, severities, with_depth=depth_dir is not None)
        if depth_dir is not None:
            items = [{**item, "depth": str(Path(depth_dir) / f"{item['case']}.npy")} for item in items]
        return measure_robustness(folder, cells, items, measure=measure_image_cell, **settings)
    if depth_dir is not None:
        raise InputError(depth_dir, "holds depth maps, and these are scans", "leave it out")
    cells = cells_of(corruptions or list(VOLUME_CORRUPTIONS), severities)
    return measure_robustness(folder, cells, items, margin=margin, **settings)


def _by_name(words: Sequence[str]) -> dict[str, str]:
    """Files by what stands before ``=``, or else by the run folder's name."""
    files: dict[str, str] = {}
    for word in words:
        name, _, file = word.rpartition("=")
        name = name or Path(file).absolute().parent.name
        if name in files or "/" in name or name.startswith("."):
            raise InputError(f"model {name!r}", "is no name of one model", "give NAME=FILE")
        files[name] = file
    return files
