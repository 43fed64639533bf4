"""From a checkpoint and validation cases to its temperature."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from medssl.common.errors import InputError, unknown_name
from medssl.common.progress import track
from medssl.data import load_datalist
from medssl.data.lists.datalist import LISTS
from medssl.inference.checkpoints import refuse_training_cases
from medssl.inference.deployment import Deployment, load_deployment
from medssl.inference.predictor import Predictor
from medssl.inference.temperature import TemperatureFit, calibration_file, fit_temperature, save_temperature


def calibration_cases(
    checkpoint: str | Path, datalist_file: str | Path, *, list_name: str = "validation"
) -> tuple[list[dict[str, Any]], Mapping[Any, Any] | None]:
    """The cases of a list that have a label and were not trained on, and the datalist's ``label_map``.

    Args:
        checkpoint: a ``best.pt`` or ``last.pt``.
        datalist_file: a MONAI datalist.
        list_name: its list; cases without a label are left out.

    Raises:
        InputError: no such list, or cases that the checkpoint was trained on.
    """
    if list_name not in LISTS:
        raise unknown_name("list", list_name, LISTS)
    datalist = load_datalist(datalist_file)
    items = [item for item in datalist[list_name] if "label" in item]
    refuse_training_cases(checkpoint, [item["case"] for item in items])
    return items, datalist.get("label_map")


def measure_temperature(
    deployment: Deployment,
    predictor: Predictor,
    items: Sequence[Mapping[str, Any]],
    *,
    temperature: float | None = None,
    seed: int = 0,
) -> TemperatureFit:
    """Fit a temperature on cases, or measure a given one.

    Probabilities are those of a prediction on the network's grid, before they go back to the scan.

    Args:
        deployment: the model, which loads labels.
        predictor: of it.
        items: with ``image`` and ``label``, and ``roi`` where the preprocessing needs one.
        temperature: the one to measure.
        seed: of the voxels that are drawn.

    Raises:
        InputError: no case.
    """

    def cases() -> Iterator[tuple[Tensor, Tensor]]:
        for item in track(items, len(items), title="calibration", unit="case"):
            case = deployment.transform({key: item[key] for key in ("image", "label", "roi") if key in item})
            yield predictor.on_network_grid(case["image"]), case["label"].as_tensor()[0]

    return fit_temperature(cases(), seed=seed, temperature=temperature)


def calibrate(
    checkpoint: str | Path,
    datalist_file: str | Path,
    *,
    list_name: str = "validation",
    temperature: float | None = None,
    stride: Sequence[int] | None = None,
    amp: Literal["off", "bf16"] | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    allow: Collection[str] = (),
    overwrite: bool = False,
) -> TemperatureFit:
    """Fit a temperature on cases with labels and keep it beside the checkpoint.

    Probabilities are those of a prediction on the network's grid, before they go back to the scan.

    Args:
        checkpoint: a ``best.pt`` or ``last.pt``.
        datalist_file: a MONAI datalist.
        list_name: its list; cases without a label are left out.
        temperature: keep this one, and measure it, instead of fitting one.
        stride: see :meth:`~medssl.inference.deployment.Deployment.predictor`.
        amp: likewise.
        device: likewise.
        seed: of the voxels that are drawn.
        allow: see :func:`~medssl.inference.deployment.load_deployment`.
        overwrite: replace a temperature that is there.

    Raises:
        InputError: no such list, no case with a label, cases that the checkpoint was trained on, or a
            temperature that is there.
    """
    items, label_map = calibration_cases(checkpoint, datalist_file, list_name=list_name)
    path = calibration_file(checkpoint)
    if path.exists() and not overwrite:
        raise InputError(path, "exists already", "add --overwrite")
    deployment = load_deployment([checkpoint], allow=allow, label_map=label_map)
    predictor = deployment.predictor(stride=stride, amp=amp, device=device, temperature=1.0)
    fit = measure_temperature(deployment, predictor, items, temperature=temperature, seed=seed)
    save_temperature(checkpoint, fit, overwrite=overwrite)
    return fit
