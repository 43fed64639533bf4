"""What would make a planned run fail, found before the first one starts."""

from collections.abc import Sequence
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.utils import ID_SEP_KEY

from medssl.common.bundles import EVALUATE, TRAIN, read_config
from medssl.common.errors import InputError, find_input_error, unknown_name
from medssl.protocol.running.plan import PlannedRun
from medssl.training.settings import evaluation_cases

CHECKS = "checked"
"""Id of the part of the training's config whose evaluation refuses what a run cannot use."""

OF_ONE_RUN = ("seed", "run_dir")
"""Settings in which runs differ that fail or pass together."""


def check_runs(runs: Sequence[PlannedRun]) -> None:
    """Refuse runs that would fail later for their overlays, settings or data.

    Of runs that differ in their seed alone one is looked at. Its configs are read and merged as the bundle
    does it, its datalist is opened and checked as its training would check it, its method is made, and its
    test cases are looked up. Nothing is written.

    Args:
        runs: from :func:`medssl.protocol.running.plan.plan_runs`.

    Raises:
        InputError: an overlay that is no YAML, a setting that no config has, a datalist or label that the
            training would refuse, method options that do not exist, or no test case to score.
    """
    kinds: dict[str, PlannedRun] = {}
    for run in runs:
        settings = {name: value for name, value in run.settings.items() if name not in OF_ONE_RUN}
        kinds.setdefault(repr((run.files, sorted(settings.items()))), run)
    for run in kinds.values():
        try:
            _check(run)
        except InputError as error:
            raise InputError(f"{run.name}: {error.where}", error.fault, error.remedy) from error


def _check(run: PlannedRun) -> None:
    parser = _read(run)
    _refuse_unknown_settings(run, parser)
    parser.update(dict(run.settings))
    _evaluate(parser, CHECKS)
    if not evaluation_cases(_evaluate(parser, "datalist"), "test"):
        raise InputError("test", "there is no test case to score", "add a 'test' list, or ask for test cases")


def _read(run: PlannedRun) -> ConfigParser:
    """The training's configs, merged, without the run's own settings."""
    for name in (TRAIN, *run.files, EVALUATE):
        read_config(run.bundle / "configs" / name)
    parser = ConfigParser()
    parser.read_config([str(run.bundle / "configs" / name) for name in (TRAIN, *run.files)])
    parser["bundle_root"] = str(run.bundle)
    return parser


def _refuse_unknown_settings(run: PlannedRun, parser: ConfigParser) -> None:
    """A setting must name something of a config, or stand in a mapping of one: there it may be new."""
    evaluation = read_config(run.bundle / "configs" / EVALUATE)
    known = {*parser.config, *evaluation}
    for name in run.settings:
        first, *inner = str(name).split(ID_SEP_KEY)
        if first not in known:
            raise unknown_name("setting", first, known)
        if inner and not isinstance(_part(parser.config, [first, *inner[:-1]]), dict | list):
            raise InputError(f"setting {name}", "names no part of the configs", "see the keys of train.yaml")


def _part(config: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if isinstance(config, list) and key.isdigit() and int(key) < len(config):
            config = config[int(key)]
        elif isinstance(config, dict) and key in config:
            config = config[key]
        else:
            return None
    return config


def _evaluate(parser: ConfigParser, name: str) -> Any:
    """What a part of the config says."""
    try:
        return parser.get_parsed_content(name)
    except Exception as error:
        input_error = find_input_error(error)
        if input_error is not None:
            raise input_error from error
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        fault = f"{type(cause).__name__}: {' '.join(str(cause).split())}"
        raise InputError(f"config {name!r}", f"cannot be made ({fault})", "correct the settings") from error
