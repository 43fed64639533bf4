"""The study of plans: data sets x methods x seeds, each data set with one plan that nobody touched.

    python scripts/plan_study.py STUDY --data hippocampus=h.json --data acdc=acdc.json --budget 30min

Plans every data set, writes protocol files, runs them (``medssl protocol run``, so that what is finished is
skipped and what was cut goes on) and prints two tables: the plans' choices, and the mean Dice of every class
at the last checkpoint, a run each. ``--full NAME=LIST`` names the same cases with all labels: the upper
bound, trained with the plan of few labels. ``--before`` adds the defaults that stood before there were plans.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from csv import DictReader
from pathlib import Path
from typing import Any

import yaml

from medssl.common.bundles import read_config
from medssl.common.errors import InputError
from medssl.common.files import write_text
from medssl.protocol.running.plan import plan_runs, read_protocol

METHODS = {"supervised": "methods/supervised.yaml", "TCSeg": "methods/tcseg_short.yaml"}
CHOICES = ("spacing", "patch_size", "flip_axes", "oversampling", "amp", "max_steps", "learning_rate")


def named_paths(words: Sequence[str], option: str) -> dict[str, Path]:
    """``NAME=FILE`` words by name.

    Raises:
        InputError: a word without both, or no such file.
    """
    paths = {}
    for word in words:
        name, mark, file = word.partition("=")
        if not (name and mark and Path(file).is_file()):
            raise InputError(f"--{option} {word}", "names no file", f"give --{option} NAME=DATALIST")
        paths[name] = Path(file).absolute()
    return paths


def make_plans(lists: Mapping[str, Path], study: Path, budget: str, device: str) -> dict[str, Path]:
    """A plan of every data set; one that is there stays, since its timings do."""
    plans = {name: study / f"{name}.yaml" for name in lists}
    for name, plan in plans.items():
        if not plan.exists():
            words = ["plan", str(lists[name]), "--out", str(plan), "--budget", budget, "--device", device]
            subprocess.run([sys.executable, "-m", "medssl", *words], check=True)
    return plans


def protocols(
    lists: Mapping[str, Path],
    plans: Mapping[str, Path],
    full: Mapping[str, Path],
    seeds: Sequence[int],
    *,
    before: bool,
) -> dict[str, dict[str, Any]]:
    """Protocol files by name: plans, the same data sets with all labels, and with the defaults of before."""

    def of(datasets: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
        named = {name: {"files": [METHODS[name]]} for name in methods}
        return {"name": "plans", "datasets": dict(datasets), "methods": named, "seeds": list(seeds)}

    planned = {name: {"files": [str(plans[name])], "datalist": str(lists[name])} for name in lists}
    contents = {"planned": of(planned, list(METHODS))}
    if full:
        all_labels = {
            f"{name}-all-labels": {"files": [str(plans[name])], "datalist": str(listed)}
            for name, listed in full.items()
        }
        contents["full"] = of(all_labels, ["supervised"])
    if before:
        defaults = {}
        for name, plan in plans.items():
            content = read_config(plan)
            kept = ("num_classes", "in_channels", "orientation", "max_steps", "steps_per_epoch")
            defaults[f"{name}-before"] = {
                "files": ["datasets/custom.yaml"],
                "datalist": str(lists[name]),
                "settings": {key: content[key] for key in kept},
            }
        contents["before"] = of(defaults, list(METHODS))
    return contents


def mean_dice(folder: Path) -> dict[str, float]:
    """Mean Dice of each class over the test cases, at the last checkpoint; nothing of an unscored run."""
    path = folder / "cases_last.csv"
    if not path.is_file():
        return {}
    scores: dict[str, list[float]] = {}
    with path.open(encoding="utf-8") as file:
        for row in DictReader(file):
            scores.setdefault(row.get("class", ""), []).append(float(row["dice"]))
    return {name: statistics.fmean(values) for name, values in scores.items()}


def main() -> None:
    """Plan, run, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="folder of plans, protocol and runs")
    parser.add_argument("--data", action="append", required=True, metavar="NAME=DATALIST")
    parser.add_argument("--full", action="append", default=[], metavar="NAME=DATALIST")
    parser.add_argument("--before", action="store_true", help="train with the defaults of before as well")
    parser.add_argument("--budget", default="30min", help="of a run (default 30min)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--plan-only", action="store_true", help="plan, and print the table of what there is")
    arguments = parser.parse_args()
    study: Path = arguments.study.absolute()
    lists, full = named_paths(arguments.data, "data"), named_paths(arguments.full, "full")
    plans = make_plans(lists, study, arguments.budget, arguments.device)
    files = []
    contents = protocols(lists, plans, full, arguments.seeds, before=arguments.before)
    for name, content in contents.items():
        files.append(study / f"{name}_protocol.yaml")
        write_text(files[-1], yaml.safe_dump(content, sort_keys=False))
        if not arguments.plan_only:
            words = ["protocol", "run", str(files[-1]), "--runs", str(study / "runs")]
            words += ["--jobs", str(arguments.jobs)]
            subprocess.run([sys.executable, "-m", "medssl", *words], check=False)
    print("| data set | " + " | ".join(CHOICES) + " |\n|" + " --- |" * (len(CHOICES) + 1))
    for name, plan in plans.items():
        settings = read_config(plan)
        print(f"| {name} | " + " | ".join(str(settings.get(choice)) for choice in CHOICES) + " |")
    print("\n| data set | labelled | method | Dice of the classes, a run each |\n| --- | --- | --- | --- |")
    rows: dict[tuple[str, str, str], list[str]] = {}
    for run in [run for file in files for run in plan_runs(read_protocol(file), study / "runs")]:
        dice = mean_dice(run.folder)
        text = ", ".join(f"{name} {value:.3f}" for name, value in sorted(dice.items())) or "not scored"
        rows.setdefault((run.dataset, str(run.labeled), run.setting), []).append(text)
    for (dataset, labeled, setting), texts in rows.items():
        print(f"| {dataset} | {labeled} | {setting} | {'; '.join(texts)} |")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
