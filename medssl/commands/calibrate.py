"""``medssl calibrate``: a temperature, and promises on new cases, fitted on validation cases."""

import argparse
from typing import Any

from medssl.commands._models import add_model_options, add_test_time_options, checkpoints_of


def add_calibrate(commands: Any) -> None:
    """``medssl calibrate``."""
    parser = commands.add_parser(
        "calibrate",
        help="fit a temperature, and bounds for new cases, on validation cases",
        description="Fit a temperature on cases with labels that nobody trained on; with --risk also a lower "
        "bound on the Dice of every predicted case, and a band that holds the true structure.",
    )
    parser.add_argument(
        "places", nargs="*", metavar="RUN DATALIST", help="folder of a run or checkpoint; a MONAI datalist"
    )
    parser.add_argument("--input", metavar="DATALIST", help="the datalist, the other way to say it")
    parser.add_argument("--list", default="validation", help="the list with labels (default: validation)")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="keep this one and fit none (1 changes nothing)"
    )
    add_model_options(parser)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the cases and voxels that are drawn (default 0)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a calibration that is there")
    promises = parser.add_argument_group(
        "promises", "They hold for predictions with the same options, which are to be given here as there."
    )
    promises.add_argument(
        "--risk", type=float, metavar="R", help="0.1, say: bounds that hold for nine of ten new cases"
    )
    promises.add_argument(
        "--jointly", action="store_true", help="for all classes of a case at once, not for each by itself"
    )
    add_test_time_options(promises)
    parser.set_defaults(run=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    (checkpoint,), (datalist,) = checkpoints_of(arguments, "input", at_most=1)
    from medssl.common.errors import InputError
    from medssl.inference.calibration import calibrate
    from medssl.inference.temperature import calibration_file
    from medssl.review.options import PackageOptions
    from medssl.review.promise_fitting import calibrate_with_promises
    from medssl.review.promise_words import promise_table

    if arguments.temperature is not None and not arguments.temperature > 0:
        raise InputError(f"temperature {arguments.temperature}", "not above 0", "1 changes nothing")
    plan: dict[str, Any] = {
        "list_name": arguments.list,
        "temperature": arguments.temperature,
        "stride": arguments.stride,
        "amp": arguments.amp,
        "device": arguments.device,
        "seed": arguments.seed,
        "allow": arguments.allow,
        "overwrite": arguments.overwrite,
    }
    promises = None
    if arguments.risk is None:
        fit = calibrate(checkpoint, datalist, **plan)
    else:
        fit, promises = calibrate_with_promises(
            checkpoint,
            datalist,
            risk=arguments.risk,
            jointly=arguments.jointly,
            weights=arguments.window_weights,
            flip_axes=arguments.flips,
            options=PackageOptions(
                keep_largest=tuple(arguments.keep_largest), fill_holes=tuple(arguments.fill_holes)
            ),
            **plan,
        )
    print(f"temperature {fit.temperature:.3f} from {fit.voxels} voxels of {fit.cases} cases")
    print(f"ECE {fit.ece_before:.4f} -> {fit.ece_after:.4f}, NLL {fit.nll_before:.4f} -> {fit.nll_after:.4f}")
    if promises is not None:
        print(promise_table(promises))
    print(f"written to {calibration_file(checkpoint)}; `medssl predict` uses it")
    return 0
