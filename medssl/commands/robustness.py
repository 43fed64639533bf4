"""``medssl robustness``: trained models on corrupted scans or images, without fine-tuning."""

import argparse
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError


def add_robustness(commands: Any) -> None:
    """``medssl robustness``."""
    parser = commands.add_parser(
        "robustness",
        help="evaluate trained models on corrupted scans or images",
        description="Evaluate trained models on corrupted cases: a run alone on the cases of its own lists, "
        "into its folder; several models, or other cases, with --input and --out.",
    )
    parser.add_argument(
        "runs", nargs="*", metavar="[NAME=]RUN", help="folders of runs, or checkpoints: one model each"
    )
    parser.add_argument(
        "--checkpoint", nargs="+", metavar="[NAME=]FILE", help="the same, the other way to say it"
    )
    parser.add_argument("--use", choices=("last", "best"), default="last", help="of RUN (default: last)")
    parser.add_argument("--input", metavar="DATALIST", help="a MONAI datalist (default: the run's lists)")
    parser.add_argument("--list", default="test", help="the list with labels (default: test)")
    parser.add_argument(
        "--out", help="folder of the tables, the figure and the cells (default: RUN/robustness_last)"
    )
    parser.add_argument("--corruptions", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--severities", nargs="+", type=int, default=[1, 3, 5], metavar="N", help="1 to 5")
    parser.add_argument("--bundle", help=argparse.SUPPRESS)  # a checkpoint says how it was trained
    parser.add_argument("--allow", nargs="+", default=[], metavar="PACKAGE", help="as for medssl predict")
    parser.add_argument("--stride", type=int, nargs="+", metavar="N", help="step between windows in voxels")
    parser.add_argument("--amp", choices=("off", "bf16"), help="bf16 is faster (default: the training's)")
    parser.add_argument("--device", help="such as cuda:0 (default: a GPU where there is one)")
    parser.add_argument(
        "--margin", type=float, metavar="MM", help="of scans: reliability this far around both masks"
    )
    parser.add_argument(
        "--depth", metavar="FOLDER", help="of images: CASE.npy in metres, for fog and rain as published"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions (default 0)")
    parser.set_defaults(run=_robustness, goes_on=True)


def _robustness(arguments: argparse.Namespace) -> int:
    words = [*arguments.runs, *(arguments.checkpoint or ())]
    if not words:
        raise InputError("medssl robustness", "needs a run", "such as: medssl robustness RUN")
    if arguments.input is None and arguments.out is None and len(words) == 1:
        return _robustness_of_run(words[0], arguments)
    if arguments.input is None or arguments.out is None:
        raise InputError(
            f"{len(words)} model(s)", "need cases and a folder", "give --input DATALIST and --out FOLDER"
        )
    from medssl.evaluation.robustness_study import study_robustness
    from medssl.inference.checkpoints import checkpoint_file

    checkpoints = []
    for word in words:
        name, equals, place = word.rpartition("=")
        checkpoints.append(f"{name}{equals}{checkpoint_file(place, arguments.use)}")
    table = study_robustness(
        arguments.out,
        checkpoints=checkpoints,
        datalist_file=arguments.input,
        list_name=arguments.list,
        corruptions=arguments.corruptions,
        severities=arguments.severities,
        allow=arguments.allow,
        stride=arguments.stride,
        amp=arguments.amp,
        device=arguments.device,
        margin=arguments.margin,
        depth_dir=arguments.depth,
        seed=arguments.seed,
        facts={"command": {name: value for name, value in vars(arguments).items() if name != "run"}},
    )
    print(table)
    print(f"written to {arguments.out}")
    return 0


def _robustness_of_run(place: str, arguments: argparse.Namespace) -> int:
    """On the cases of the run's own lists, by the bundle's ``robustness.yaml``."""
    from medssl.common.bundles import ROBUSTNESS, bundle_of_run, refuse_unread
    from medssl.common.run_folder import RunFolder
    from medssl.evaluation.score_run import measure_run

    run = RunFolder(Path(place).expanduser().absolute())
    if not run.record.is_file():
        raise InputError(place, "is no folder of a run", "give one, or --input DATALIST and --out FOLDER")
    run.read()
    given = {
        "checkpoint": arguments.use,
        "evaluate_on": arguments.list,
        "corruptions": arguments.corruptions,
        "severities": arguments.severities,
        "corruption_seed": arguments.seed,
        "reliability_margin": arguments.margin,
        "depth_dir": arguments.depth,
        "stride": arguments.stride,
        "amp": arguments.amp,
        "device": arguments.device,
    }
    bundle = bundle_of_run(run.settings(), arguments.bundle)
    options = {name: str(value) for name, value in given.items() if value is not None}
    refuse_unread(options, [run.config, bundle.config(ROBUSTNESS)])
    print(measure_run(run, bundle, options))
    ending = "" if arguments.list == "test" else f"_{arguments.list}"
    print(f"written to {run.path / f'robustness_{arguments.use}{ending}'}")
    return 0
