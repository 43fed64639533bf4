"""The robustness of one run, with the settings of its training."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from medssl.common.run_folder import RunFolder
from medssl.data.corruptions import VOLUME_CORRUPTIONS
from medssl.evaluation.scan_robustness import cells_of, measure_robustness
from medssl.inference.deployment import load_deployment
from medssl.reports.robustness import robustness_identity, write_robustness


def write_run_robustness(
    run_dir: str | Path,
    *,
    checkpoint: str,
    cases: Sequence[Mapping[str, Any]],
    subset: str,
    corruptions: Sequence[str] | None,
    severities: Sequence[int],
    seed: int,
    margin: float | None,
    name: str,
    label_map: Mapping[Any, Any] | None = None,
    stride: Sequence[int] | None = None,
    amp: Literal["off", "bf16"] | None = None,
    channels_last: bool | None = None,
    device: torch.device | str | None = None,
    allow: Collection[str] = (),
) -> str:
    """Score a checkpoint on corrupted scans, and write the tables and the figure beside it.

    They go to ``robustness_last`` in the run's folder, or ``robustness_best_validation`` and so on, with a
    file a cell, so that an evaluation that was cut goes on.

    Args:
        run_dir: the run's folder.
        checkpoint: ``"last"`` or ``"best"``.
        cases: items with ``image`` and ``reference``.
        subset: which cases these are, ``"test"`` or ``"validation"``.
        corruptions: names; None for all.
        severities: 1 to 5.
        seed: of the corruptions.
        margin: mm around prediction and reference in which reliability is measured; None for the whole scan.
        name: of the model in the tables.
        label_map: stored class ids that stand for others in the reference labels.
        stride: of the windows; by default the training's.
        amp: precision; by default the training's.
        channels_last: memory layout; by default the training's.
        device: by default a GPU where there is one.
        allow: see :func:`~medssl.inference.load_deployment`.

    Returns:
        The table as Markdown.

    Raises:
        InputError: an unknown corruption or severity, no such checkpoint, or cells of another model.
    """
    folder = RunFolder(Path(run_dir)).path
    file = folder / f"{checkpoint}.pt"
    cells = cells_of(corruptions or list(VOLUME_CORRUPTIONS), severities)
    deployment = load_deployment([file], allow=allow)
    predictor = deployment.predictor(
        stride=stride,
        keep_probabilities=True,
        temperature=1.0,
        amp=amp,
        channels_last=channels_last,
        device=device,
    )
    out = folder / f"robustness_{checkpoint}{'' if subset == 'test' else f'_{subset}'}"
    items = [{**item, "label": item["reference"]} for item in cases]
    identity = robustness_identity(
        file,
        [item["case"] for item in items],
        seed=seed,
        margin=margin,
        stride=predictor.stride,
        amp=predictor.amp,
    )
    values = measure_robustness(
        out / "cells",
        cells,
        items,
        identity=identity,
        transform=deployment.transform,
        predictor=predictor,
        reference=deployment.loader("label", label_map=label_map),
        seed=seed,
        margin=margin,
    )
    return write_robustness(out, {name: values})
