"""``medssl protocol run``: all runs of a protocol file."""

import argparse
import fnmatch
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.common.errors import InputError

if TYPE_CHECKING:
    from medssl.protocol.running.job import Outcome, State
    from medssl.protocol.running.plan import PlannedRun


def add_run(commands: Any) -> None:
    """Options of ``medssl protocol run``."""
    parser = commands.add_parser(
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
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from medssl.protocol.running.job import state
    from medssl.protocol.running.plan import plan_runs, read_protocol
    from medssl.protocol.running.preflight import check_runs

    for option in ("jobs", "attempts"):
        if getattr(arguments, option) < 1:
            raise InputError(f"--{option}", f"{getattr(arguments, option)} is too few", "give 1 or more")
    protocol = read_protocol(arguments.file)
    datasets = tuple(protocol.datasets)
    runs = plan_runs(
        protocol,
        arguments.runs or Path("runs") / protocol.name,
        dataset_dirs=_by_dataset("--dataset-dir", arguments.dataset_dir, datasets),
        datalists=_by_dataset("--datalist", arguments.datalist, datasets),
        settings=_settings(arguments.set),
    )
    if arguments.only:
        kept = [run for run in runs if fnmatch.fnmatch(run.name, arguments.only)]
        if not kept:
            raise InputError(f"--only {arguments.only}", "matches no run", f"such as {runs[0].name}")
        runs = kept
    for name, folder in {run.dataset: run.settings.get("dataset_dir") for run in runs}.items():
        if folder is not None and not Path(folder).is_dir():
            raise InputError(folder, f"no such folder (data set {name})", "correct --dataset-dir")
    devices = arguments.devices or ["cpu"] * arguments.jobs
    _check_devices(devices)
    states = {run.name: state(run) for run in runs}
    check_runs([run for run in runs if states[run.name] in ("to do", "cut")])
    _print_plan(runs, states, side_by_side=len(devices))
    if arguments.dry_run:
        return 0
    left = [run for run in runs if states[run.name] != "finished"]
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        outcomes = _execute(arguments, left, devices)
    finally:
        signal.signal(signal.SIGTERM, before)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    print(f"{len(runs) - len(failed)} of {len(runs)} runs finished in {runs[0].folder.parent}")
    for outcome in failed:
        print(f"failed: {outcome.name}: {outcome.message}")
    return 1 if failed else 0


def _execute(
    arguments: argparse.Namespace, runs: Sequence["PlannedRun"], devices: Sequence[str]
) -> list["Outcome"]:
    from medssl.protocol.running.local import LocalPool
    from medssl.protocol.running.ray_pool import RayPool

    if arguments.ray:
        threads = arguments.threads or 1
        pool = RayPool(
            address=None if arguments.ray == "local" else arguments.ray,
            cpus=threads,
            gpus=arguments.gpus_per_run,
            attempts=arguments.attempts,
            local_cpus=threads * len(devices),
        )
        try:
            return pool.run(runs, report=_report)
        finally:
            pool.close()
    return LocalPool(devices, threads=arguments.threads, attempts=arguments.attempts).run(
        runs, report=_report
    )


def _print_plan(runs: Sequence["PlannedRun"], states: Mapping[str, "State"], *, side_by_side: int) -> None:
    from medssl.protocol.running.estimate import duration, expected_seconds
    from medssl.protocol.running.job import last_step

    expected = expected_seconds(runs, states)
    width = max(len(run.name) for run in runs)
    total, unknown = 0.0, 0
    for run in runs:
        how = str(states[run.name])
        if how == "cut":
            how += f" at step {last_step(run.folder)}"
        seconds = expected[run.name]
        print(f"{run.name:<{width}}  {how:<18} {'' if seconds is None else duration(seconds):>12}")
        if states[run.name] != "finished":
            total += seconds or 0.0
            unknown += seconds is None
    left = sum(how != "finished" for how in states.values())
    line = f"{len(runs)} runs, {len(runs) - left} finished, {left} left, {side_by_side} side by side"
    if left and unknown:
        print(f"{line}; no estimate before the first run of each data set has finished")
    elif left:
        print(f"{line}; about {duration(total / min(side_by_side, left))}, without what cut runs have done")
    else:
        print(line)


def _report(outcome: "Outcome") -> None:
    from tqdm import tqdm

    from medssl.protocol.running.estimate import duration

    line = f"{outcome.name}  {outcome.state} after {duration(outcome.seconds)}"
    tqdm.write(line + (f": {outcome.message}" if outcome.message else ""))


def _by_dataset(option: str, given: Sequence[str], datasets: Sequence[str]) -> dict[str, str]:
    paths = {}
    for text in given:
        name, mark, path = text.partition("=")
        if not mark:
            if len(datasets) > 1:
                raise InputError(f"{option} {text}", "for which data set?", f"give {datasets[0]}={text}")
            name, path = datasets[0], text
        paths[name] = path
    return paths


def _settings(given: Sequence[str]) -> dict[str, Any]:
    import yaml

    settings = {}
    for text in given:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise InputError(f"--set {text}", "no KEY=VALUE", "such as --set max_steps=200")
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(
                f"--set {text}", "value is no YAML", "quote it, such as --set 'stride=[8, 8, 4]'"
            ) from error
    return settings


def _check_devices(devices: Sequence[str]) -> None:
    for device in devices:
        number = device.removeprefix("cuda:")
        if device != "cpu" and not (device.startswith("cuda:") and number.isdigit()):
            raise InputError(f"--devices {device}", "unknown device", "give cpu or cuda:N")
        if device != "cpu":
            import torch

            if int(number) >= torch.cuda.device_count():
                raise InputError(
                    f"--devices {device}", f"there are {torch.cuda.device_count()} GPUs", "leave it out"
                )


def _terminated(*_: object) -> None:
    """A scheduler's SIGTERM ends as Ctrl-C does: the trainings too, to be resumed."""
    raise KeyboardInterrupt
