"""``medssl calibrate``: a temperature for a checkpoint, fitted on validation cases."""

import argparse
from typing import Any

from medssl.commands._models import add_model_options, checkpoints_of


def add_calibrate(commands: Any) -> None:
    """``medssl calibrate``."""
    parser = commands.add_parser("calibrate", help="fit a temperature on validation cases")
    parser.add_argument(
        "places", nargs="*", metavar="RUN DATALIST", help="folder of a run or checkpoint; a MONAI datalist"
    )
    parser.add_argument("--input", metavar="DATALIST", help="the datalist, the other way to say it")
    parser.add_argument("--list", default="validation", help="the list with labels (default: validation)")
    add_model_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the voxels that are drawn (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace a temperature that is there")
    parser.set_defaults(run=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    (checkpoint,), (datalist,) = checkpoints_of(arguments, "input", at_most=1)
    from medssl.inference.calibration import calibrate
    from medssl.inference.temperature import calibration_file

    fit = calibrate(
        checkpoint,
        datalist,
        list_name=arguments.list,
        stride=arguments.stride,
        amp=arguments.amp,
        device=arguments.device,
        seed=arguments.seed,
        allow=arguments.allow,
        overwrite=arguments.overwrite,
    )
    print(f"temperature {fit.temperature:.3f} from {fit.voxels} voxels of {fit.cases} cases")
    print(f"ECE {fit.ece_before:.4f} -> {fit.ece_after:.4f}, NLL {fit.nll_before:.4f} -> {fit.nll_after:.4f}")
    print(f"written to {calibration_file(checkpoint)}; `medssl predict` uses it")
    return 0
