"""``medssl protocol run``: all runs of a protocol file."""

import argparse
from typing import Any

from medssl.common.errors import InputError


def add_run(actions: Any) -> None:
    """Options of ``medssl protocol run``."""
    parser = actions.add_parser(
        "run",
        help="do all runs of a protocol file; what is finished is skipped, what was cut goes on",
        description="Trains and scores data sets x methods x overrides x labelled counts x seeds. "
        "Exit status 0 where every run is finished, 1 where one failed.",
    )
    parser.add_argument("file", help="protocol file, or a name of the package: la, phantom, ...")
    parser.add_argument("--runs", help="folder of the runs (default runs/NAME)")
    parser.add_argument(
        "--dataset-dir",
        action="append",
        default=[],
        metavar="[NAME=]FOLDER",
        help="data folder of a data set; the name can be left out where there is only one",
    )
    parser.add_argument(
        "--datalist",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="datalist of a data set, instead of one that the protocol file names",
    )
    parser.add_argument(
        "--devices", nargs="+", metavar="DEVICE", help="cpu or cuda:N, a run on each at a time"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side on the CPU (default 1)")
    parser.add_argument("--threads", type=int, help="of a run (default: the cores shared out)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting of every run (YAML)",
    )
    parser.add_argument("--only", metavar="PATTERN", help="runs whose name matches, such as '*-seed1'")
    parser.add_argument(
        "--attempts", type=int, default=2, help="how often a failing stage is tried (default 2)"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="run on Ray: a new local cluster, or an address",
    )
    parser.add_argument("--gpus-per-run", type=float, default=0.0, help="with --ray; may be a fraction")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and the time, and run nothing")
    parser.set_defaults(run=_run, goes_on=True)


def _run(arguments: argparse.Namespace) -> int:
    from medssl.common.next_steps import command_line
    from medssl.common.progress import print_line
    from medssl.protocol.running.job import state
    from medssl.protocol.running.pools import run_in_pool
    from medssl.protocol.running.preflight import check_runs
    from medssl.protocol.running.requests import check_devices, requested_runs
    from medssl.protocol.running.texts import outcome_text, outcomes_text, plan_text

    for option in ("jobs", "attempts"):
        if getattr(arguments, option) < 1:
            raise InputError(f"--{option}", f"{getattr(arguments, option)} is too few", "give 1 or more")
    devices = arguments.devices or ["cpu"] * arguments.jobs
    runs = requested_runs(
        arguments.file,
        folder=arguments.runs,
        dataset_dirs=arguments.dataset_dir,
        datalists=arguments.datalist,
        settings=arguments.set,
        only=arguments.only,
    )
    check_devices(devices)
    states = {run.name: state(run) for run in runs}
    check_runs([run for run in runs if states[run.name] in ("to do", "cut")])
    print(plan_text(runs, states, side_by_side=len(devices)), flush=True)
    if arguments.dry_run:
        return 0
    outcomes = run_in_pool(
        [run for run in runs if states[run.name] != "finished"],
        devices=devices,
        threads=arguments.threads,
        attempts=arguments.attempts,
        ray_address=arguments.ray,
        gpus_per_run=arguments.gpus_per_run,
        report=lambda outcome: print_line(outcome_text(outcome)),
    )
    print(outcomes_text(runs, outcomes))
    if any(outcome.state == "failed" for outcome in outcomes):
        return 1
    print("next: " + command_line("medssl", "protocol", "report", runs[0].folder.parent, "--out", "REPORT"))
    return 0
