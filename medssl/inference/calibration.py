"""From a checkpoint and validation cases to its temperature."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from medssl.common.errors import InputError, unknown_name
from medssl.common.progress import track
from medssl.data import load_datalist
from medssl.data.lists.datalist import LISTS
from medssl.inference.checkpoints import refuse_training_cases
from medssl.inference.deployment import load_deployment
from medssl.inference.temperature import TemperatureFit, calibration_file, fit_temperature, save_temperature


def calibrate(
    checkpoint: str | Path,
    datalist_file: str | Path,
    *,
    list_name: str = "validation",
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
    if list_name not in LISTS:
        raise unknown_name("list", list_name, LISTS)
    path = calibration_file(checkpoint)
    if path.exists() and not overwrite:
        raise InputError(path, "exists already", "add --overwrite")
    datalist = load_datalist(datalist_file)
    items = [item for item in datalist[list_name] if "label" in item]
    refuse_training_cases(checkpoint, [item["case"] for item in items])
    deployment = load_deployment([checkpoint], allow=allow, label_map=datalist.get("label_map"))
    predictor = deployment.predictor(stride=stride, amp=amp, device=device, temperature=1.0)

    def cases() -> Iterator[tuple[Tensor, Tensor]]:
        for item in track(items, len(items), title="calibration", unit="case"):
            case = deployment.transform({key: item[key] for key in ("image", "label", "roi") if key in item})
            yield predictor.on_network_grid(case["image"]), case["label"].as_tensor()[0]

    fit = fit_temperature(cases(), seed=seed)
    save_temperature(checkpoint, fit, overwrite=overwrite)
    return fit
