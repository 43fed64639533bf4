"""``medssl robustness``: trained models on corrupted scans, without fine-tuning."""

import argparse
from typing import Any


def add_robustness(commands: Any) -> None:
    """``medssl robustness``."""
    parser = commands.add_parser("robustness", help="evaluate trained models on corrupted scans")
    parser.add_argument(
        "--checkpoint", required=True, nargs="+", metavar="[NAME=]FILE", help="one model each, compared"
    )
    parser.add_argument("--input", required=True, metavar="DATALIST", help="a MONAI datalist")
    parser.add_argument("--list", default="test", help="the list with labels (default: test)")
    parser.add_argument("--out", required=True, help="folder of the tables, the figure and the cells")
    parser.add_argument("--corruptions", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--severities", nargs="+", type=int, default=[1, 3, 5], metavar="N", help="1 to 5")
    parser.add_argument("--bundle", help=argparse.SUPPRESS)  # a checkpoint says how it was trained
    parser.add_argument("--allow", nargs="+", default=[], metavar="PACKAGE", help="as for medssl predict")
    parser.add_argument("--stride", type=int, nargs=3, metavar="N", help="step between windows in voxels")
    parser.add_argument("--amp", choices=("off", "bf16"), help="bf16 is faster (default: the training's)")
    parser.add_argument("--device", help="such as cuda:0 (default: a GPU where there is one)")
    parser.add_argument(
        "--margin", type=float, metavar="MM", help="reliability this far around prediction and reference"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions (default 0)")
    parser.set_defaults(run=_robustness, goes_on=True)


def _robustness(arguments: argparse.Namespace) -> int:
    from medssl.evaluation.robustness_study import study_robustness

    table = study_robustness(
        arguments.out,
        checkpoints=arguments.checkpoint,
        datalist_file=arguments.input,
        list_name=arguments.list,
        corruptions=arguments.corruptions,
        severities=arguments.severities,
        allow=arguments.allow,
        stride=arguments.stride,
        amp=arguments.amp,
        device=arguments.device,
        margin=arguments.margin,
        seed=arguments.seed,
        facts={"command": {name: value for name, value in vars(arguments).items() if name != "run"}},
    )
    print(table)
    print(f"written to {arguments.out}")
    return 0
