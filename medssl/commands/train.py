"""``medssl train``: a training of a bundle in one short line."""

import argparse
from typing import Any

from medssl.commands._words import add_words, split_words, take_flag
from medssl.common.bundles import (
    KINDS,
    TRAIN,
    bundle_names,
    bundle_with,
    find_bundle,
    monai_command,
    option_lines,
    refuse_unread,
    training_files,
)
from medssl.common.errors import InputError
from medssl.common.plan_files import read_plan

HELP = """usage: medssl train DATASET METHOD [--option value ...]
       medssl train --plan PLAN [METHOD] [--option value ...]

Train a model, best in a folder of its own: --run-dir RUN (default runs/... here).

  DATASET         {datasets};
                  a datalist (d.json); or an overlay of your own (mine.yaml)
  METHOD          {methods}; or an overlay of your own
  --plan PLAN     what medssl plan wrote: data set, network and, unless it is given, METHOD
  --network NAME  {networks}; or an overlay of your own
  --selector NAME of pseudo-labels: {selectors}; or an overlay of your own
  --bundle NAME   bundle, by name or folder; by default the one that alone has DATASET, else tcseg. This is
                  the help of {bundle}; there are {bundles}. medssl bundle copies one
  --dry-run       print the line for MONAI and the config files, and train nothing
  --option value  any option below: --dataset_dir DATA --labeled 8 --seed 1 --max_steps 2000 --resume;
                  or a part of configs/train.yaml: --optimizer::nesterov true

Options and their defaults, which DATASET and METHOD may set otherwise:

{options}"""


def add_train(commands: Any) -> None:
    """``medssl train``."""
    add_words(commands, "train", summary="train a model: medssl train DATASET METHOD", run=_train)


def _train(arguments: argparse.Namespace) -> int:
    names, options = split_words(arguments.words)
    named = options.pop("bundle", None)
    dataset = options.get("plan") or (names[0] if names else None)
    bundle = bundle_with(dataset) if named is None else find_bundle(named)
    if take_flag(options, "help"):
        words = {kind: ", ".join(bundle.overlays(kind)) for kind in KINDS}
        words |= {"bundle": bundle.path.name, "bundles": ", ".join(bundle_names())}
        print(HELP.format(**words, options=option_lines(bundle.config(TRAIN))))
        return 0
    overlays = {kind: options.pop(kind, None) for kind in ("network", "selector")}
    planned: dict[str, str] = {}
    if "plan" in options:
        names, planned = _names_of_plan(options.pop("plan"), names, overlays, options)
    if len(names) != 2:
        raise InputError("medssl train", "needs DATASET and METHOD", "such as: medssl train d.json tcseg_own")
    dataset, method = names
    files, settings = training_files(bundle, dataset, method, **overlays)
    dry_run = take_flag(options, "dry_run")
    refuse_unread(options, files)
    settings = {"bundle_root": str(bundle.path), **planned, **settings, **options}
    if dry_run:
        print(monai_command(files, settings))
        return 0
    from medssl.training.workflow import run_workflow

    run_workflow(files, settings)
    return 0


def _names_of_plan(
    path: str, names: list[str], overlays: dict[str, str | None], options: dict[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Data set and method of a plan, and where its datalist lies; its network joins the overlays."""
    if len(names) > 1:
        fault = f"takes no data set beside the plan ({' '.join(names)})"
        raise InputError("medssl train --plan", fault, "name at most a METHOD")
    plan = read_plan(path)
    overlays["network"] = overlays["network"] or plan.network
    settings = {"datalist_file": str(plan.datalist)}
    if "datalist_file" not in options and not plan.datalist.is_file():
        fault = f"its datalist {plan.datalist} is not there"
        raise InputError(plan.path, fault, "name its new place: --datalist_file FILE, or write it there")
    return [str(plan.path), *(names or [plan.method])], settings
