"""``medssl robustness``: trained models on corrupted scans, without fine-tuning."""

import argparse
import json
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError


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
    parser.set_defaults(run=_robustness)


def _robustness(arguments: argparse.Namespace) -> int:
    from medssl.common.errors import unknown_name
    from medssl.common.files import write_text
    from medssl.data import load_datalist
    from medssl.data.corruptions import VOLUME_CORRUPTIONS
    from medssl.data.lists.datalist import LISTS
    from medssl.evaluation.scan_robustness import cells_of, measure_robustness
    from medssl.inference.checkpoints import refuse_training_cases
    from medssl.inference.deployment import load_deployment
    from medssl.reports.robustness import robustness_identity, write_robustness

    if arguments.list not in LISTS:
        raise unknown_name("list", arguments.list, LISTS)
    cells = cells_of(arguments.corruptions or list(VOLUME_CORRUPTIONS), arguments.severities)
    datalist = load_datalist(arguments.input)
    items = [item for item in datalist[arguments.list] if "label" in item]
    out = Path(arguments.out)
    models = {}
    for name, file in _named(arguments.checkpoint):
        refuse_training_cases(file, [item["case"] for item in items])
        deployment = load_deployment([file], allow=arguments.allow)
        predictor = deployment.predictor(
            stride=arguments.stride,
            keep_probabilities=True,
            temperature=1.0,
            amp=arguments.amp,
            device=arguments.device,
        )
        identity = robustness_identity(
            file,
            [item["case"] for item in items],
            seed=arguments.seed,
            margin=arguments.margin,
            stride=list(predictor.stride),
            amp=predictor.amp,
        )
        models[name] = measure_robustness(
            out / "cells" / name,
            cells,
            items,
            identity=identity,
            transform=deployment.transform,
            predictor=predictor,
            seed=arguments.seed,
            margin=arguments.margin,
            reference=deployment.loader("label", label_map=datalist.get("label_map")),
        )
    table = write_robustness(out, models)
    write_text(out / "settings.json", json.dumps({"command": vars(arguments)}, default=str, indent=2) + "\n")
    print(table)
    print(f"written to {out}")
    return 0


def _named(checkpoints: list[str]) -> list[tuple[str, str]]:
    """Models by name: what stands before ``=``, or the run folder's name."""
    named = []
    for given in checkpoints:
        name, _, file = given.rpartition("=")
        named.append((name or Path(file).absolute().parent.name, file))
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1 or "/" in name or name.startswith("."):
            raise InputError(f"model {name!r}", "is no name of one model", "give NAME=FILE")
    return named
