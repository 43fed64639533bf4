"""``medssl plan``: every setting of a training, from the data and a timed step."""

import argparse
import logging
import re
import warnings
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def add_plan(commands: Any) -> None:
    """``medssl plan``."""
    parser = commands.add_parser(
        "plan",
        help="decide every setting of a training from the data and a timed step",
        description="Open every case of a datalist, time training steps on this machine, and write an "
        "overlay with every setting and its reason. medssl train --plan trains it.",
    )
    parser.add_argument("datalist", help="the datalist (JSON)")
    parser.add_argument("--out", required=True, metavar="FILE", help="the plan (YAML)")
    parser.add_argument(
        "--budget",
        default="2h",
        help="time for a training and the scoring of its test cases, such as 30min or 2h",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), help="where to train (default: the GPU if there is one)"
    )
    parser.add_argument("--method", help="overlay by name or path (default: TCSeg for the size of the patch)")
    parser.add_argument(
        "--modality", metavar="ct|mr|other", help="of the scans (default: CT by its Hounsfield units)"
    )
    parser.add_argument("--network", help="overlay by name or path (default: the V-Net)")
    parser.add_argument("--seed", type=int, help="of the training (default: the bundle's, 1)")
    parser.add_argument(
        "--classes", "--num_classes", type=int, metavar="K", help="with background (default: the datalist's)"
    )
    parser.add_argument("--h5-spacing", type=float, nargs=3, metavar="MM", help="voxel size of HDF5 files")
    parser.add_argument(
        "--step-time", type=float, metavar="SECONDS", help="of a training step, instead of timing it"
    )
    parser.add_argument("--jobs", type=int, default=1, help="cases opened at a time (default 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace a plan at that place")
    parser.set_defaults(run=_run)


def seconds_of(text: str) -> float:
    """Seconds of a text such as ``90``, ``45s``, ``30min``, ``1.5h`` or ``2d``.

    Raises:
        InputError: no such text, or nothing.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    unit = UNITS.get(match[2] or "s") if match else None
    if match is None or unit is None or not float(match[1]) > 0:
        raise InputError(f"--budget {text}", "is no time", "give one such as 30min or 2h")
    return float(match[1]) * unit


def _run(arguments: argparse.Namespace) -> int:
    budget, out = seconds_of(arguments.budget), Path(arguments.out).absolute()
    if arguments.step_time is not None and not arguments.step_time > 0:
        raise InputError(f"--step-time {arguments.step_time:g}", "is no time", "give seconds above 0")
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(out, "a plan is a YAML file", "give a name that ends in .yaml")
    if out.exists() and not arguments.overwrite:
        raise InputError(out, "exists already", "choose another name, or add --overwrite")
    warnings.filterwarnings("ignore", module="monai")
    for name in ("nibabel.global", "pydicom", "monai"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    import torch

    from medssl.common.files import write_text
    from medssl.common.next_steps import command_line
    from medssl.planning import Wishes, plan_text
    from medssl.planning.of_datalist import plan_datalist
    from medssl.planning.summary import plan_summary

    has_gpu = torch.cuda.is_available()
    if arguments.device == "cuda" and not has_gpu:
        raise InputError(
            "--device cuda", "torch sees no GPU here", "leave it out, or plan where there is one"
        )
    wishes = Wishes(
        budget=budget,
        device=arguments.device or ("cuda" if has_gpu else "cpu"),
        method=arguments.method,
        modality=arguments.modality,
        network=arguments.network,
    )
    plan, fingerprint = plan_datalist(
        arguments.datalist,
        wishes,
        step_seconds=arguments.step_time,
        num_classes=arguments.classes,
        h5_spacing=arguments.h5_spacing or 1.0,
        jobs=arguments.jobs,
    )
    datalist = Path(arguments.datalist).absolute()
    text = plan_text(plan, datalist=datalist, labeled=len(fingerprint.labeled), seed=arguments.seed)
    write_text(out, text)
    print(plan_summary(plan))
    print(f"plan: {out}")
    print("next: " + command_line("medssl", "train", "--plan", arguments.out))
    return 0
