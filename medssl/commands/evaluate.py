"""``medssl evaluate``: the scores of a run."""

import argparse
from pathlib import Path
from typing import Any

from medssl.commands._words import add_words, split_words, take_flag
from medssl.common.bundles import EVALUATE, bundle_of_run, find_bundle, option_lines, refuse_unread
from medssl.common.errors import InputError

HELP = """usage: medssl evaluate RUN [--option value ...]

Score best.pt and last.pt of a run, case by case, into RUN/cases_best.csv and RUN/cases_last.csv.

  RUN             folder of a run
  --bundle NAME   bundle, by name or folder (default: the run's)
  --option value  any option below: --evaluate_on validation --unit voxel --overwrite; the --stride of the
                  windows; where the data lie now: --dataset_dir DATA, --datalist_file d.json

Options and their defaults:

{options}"""


def add_evaluate(commands: Any) -> None:
    """``medssl evaluate``."""
    add_words(commands, "evaluate", summary="score a run: medssl evaluate RUN", run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    names, options = split_words(arguments.words)
    if take_flag(options, "help"):
        bundle = find_bundle(options.get("bundle", "tcseg"))
        print(HELP.format(options=option_lines(bundle.config(EVALUATE))))
        return 0
    if len(names) != 1:
        raise InputError("medssl evaluate", "needs the folder of a run", "such as: medssl evaluate RUN")
    from medssl.common.run_folder import RunFolder

    run = RunFolder(Path(names[0]).expanduser().absolute())
    run.read()
    bundle = bundle_of_run(run.settings(), options.pop("bundle", None))
    refuse_unread(options, [run.config, bundle.config(EVALUATE)])

    from medssl.evaluation.score_run import score_run, short_table

    scores = score_run(run, bundle, options)
    print(short_table(run, scores, options.get("evaluate_on", "test")))
    return 0
