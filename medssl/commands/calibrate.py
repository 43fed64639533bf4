"""``medssl calibrate``: a temperature for a checkpoint, fitted on validation cases."""

import argparse
from collections.abc import Iterator
from typing import Any

from medssl.common.errors import InputError


def add_calibrate(commands: Any) -> None:
    """``medssl calibrate``."""
    parser = commands.add_parser("calibrate", help="fit a temperature on validation cases")
    parser.add_argument("--bundle", required=True, help="folder of the bundle, such as bundles/tcseg")
    parser.add_argument("--checkpoint", required=True, help="best.pt or last.pt")
    parser.add_argument("--input", required=True, metavar="DATALIST", help="a MONAI datalist")
    parser.add_argument("--list", default="validation", help="the list with labels (default: validation)")
    parser.add_argument("--config-file", nargs="+", default=[], help="further overlays of the bundle")
    parser.add_argument("--stride", type=int, nargs=3, metavar="N", help="step between windows in voxels")
    parser.add_argument("--amp", choices=("off", "bf16"), help="bf16 is faster (default: the bundle's)")
    parser.add_argument("--device", help="such as cuda:0 (default: a GPU where there is one)")
    parser.add_argument("--seed", type=int, default=0, help="of the voxels that are drawn (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace a temperature that is there")
    parser.set_defaults(run=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    import torch
    from tqdm import tqdm

    from medssl.common.errors import unknown_name
    from medssl.common.precision import Precision, autocast
    from medssl.data import load_datalist
    from medssl.data.lists.datalist import LISTS
    from medssl.evaluation.trained import refuse_training_cases
    from medssl.inference.deployment import load_deployment
    from medssl.inference.temperature import calibration_file, fit_temperature, save_temperature
    from medssl.inference.windows import stream_windows

    if arguments.list not in LISTS:
        raise unknown_name("list", arguments.list, LISTS)
    path = calibration_file(arguments.checkpoint)
    if path.exists() and not arguments.overwrite:
        raise InputError(path, "exists already", "add --overwrite")
    datalist = load_datalist(arguments.input)
    overrides = {"stride": arguments.stride} if arguments.stride else {}
    deployment = load_deployment(
        arguments.bundle,
        [arguments.checkpoint],
        config_files=arguments.config_file,
        overrides=overrides | {"label_map": datalist.get("label_map")},
    )
    settings = deployment.settings
    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    network = deployment.networks[0].to(device)
    amp: Precision = "bf16" if (arguments.amp or settings["amp"]) == "bf16" else "off"
    items = [item for item in datalist[arguments.list] if "label" in item]
    refuse_training_cases(arguments.checkpoint, [item["case"] for item in items])

    def forward(windows: torch.Tensor) -> torch.Tensor:
        windows = windows.to(device).contiguous(memory_format=torch.channels_last_3d)
        with torch.no_grad(), autocast(device, amp):
            logits = network(windows)
        return torch.softmax(logits.float(), 1)

    def cases() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for item in tqdm(items, desc="cases", unit="case"):
            case = deployment.transform({key: item[key] for key in ("image", "label", "roi") if key in item})
            probs = stream_windows(
                case["image"].as_tensor(),
                forward,
                channels=settings["num_classes"],
                patch=settings["patch_size"],
                stride=settings["stride"],
            )
            yield probs, case["label"].as_tensor()[0]

    fit = fit_temperature(cases(), seed=arguments.seed)
    written = save_temperature(arguments.checkpoint, fit, overwrite=arguments.overwrite)
    print(f"temperature {fit.temperature:.3f} from {fit.voxels} voxels of {fit.cases} cases")
    print(f"ECE {fit.ece_before:.4f} -> {fit.ece_after:.4f}, NLL {fit.nll_before:.4f} -> {fit.nll_after:.4f}")
    print(f"written to {written}; `medssl predict` uses it")
    return 0
