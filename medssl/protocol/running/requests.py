"""What somebody asks of ``medssl protocol run``, as words: read, checked, and turned into planned runs."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from medssl.common.errors import InputError
from medssl.protocol.running.plan import PlannedRun, plan_runs, read_protocol


def requested_runs(
    file: str | Path,
    *,
    folder: str | Path | None = None,
    dataset_dirs: Sequence[str] = (),
    datalists: Sequence[str] = (),
    settings: Sequence[str] = (),
    only: str | None = None,
) -> list[PlannedRun]:
    """The runs of a protocol file that are asked for.

    Args:
        file: the protocol file.
        folder: of the run folders; ``runs/NAME`` by default.
        dataset_dirs: ``NAME=FOLDER``; ``FOLDER`` alone where the protocol has one data set.
        datalists: ``NAME=FILE`` likewise.
        settings: ``KEY=VALUE`` with a value in YAML.
        only: pattern of the names of the runs.

    Raises:
        InputError: a file, word, pattern or folder that cannot be used.
    """
    protocol = read_protocol(file)
    datasets = tuple(protocol.datasets)
    runs = plan_runs(
        protocol,
        folder or Path("runs") / protocol.name,
        dataset_dirs=_by_dataset("--dataset-dir", dataset_dirs, datasets),
        datalists=_by_dataset("--datalist", datalists, datasets),
        settings=_settings(settings),
    )
    chosen = [run for run in runs if only is None or fnmatch.fnmatch(run.name, only)]
    if not chosen:
        raise InputError(f"--only {only}", "matches no run", f"such as {runs[0].name}")
    for name, data in {run.dataset: run.settings.get("dataset_dir") for run in chosen}.items():
        if data is not None and not Path(data).is_dir():
            raise InputError(data, f"no such folder (data set {name})", "correct --dataset-dir")
    return chosen


def check_devices(devices: Sequence[str]) -> None:
    """Refuse names of devices that this machine does not have.

    Raises:
        InputError: neither ``cpu`` nor a ``cuda:N`` that is there.
    """
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


def _by_dataset(option: str, words: Sequence[str], datasets: Sequence[str]) -> dict[str, str]:
    paths = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals:
            if len(datasets) > 1:
                raise InputError(f"{option} {word}", "for which data set?", f"give {datasets[0]}={word}")
            name, path = datasets[0], word
        paths[name] = path
    return paths


def _settings(words: Sequence[str]) -> dict[str, Any]:
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InputError(f"--set {word}", "no KEY=VALUE", "such as --set max_steps=200")
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(
                f"--set {word}", "value is no YAML", "quote it, such as --set 'stride=[8, 8, 4]'"
            ) from error
    return settings
