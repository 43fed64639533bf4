"""Runs that an earlier version trained, scored by this one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder

# What an overlay of an earlier version wrote as components or expressions that still stand.
_KEPT_PARTS = ("preprocessing", "network_def", "datalist")
# A part that every training of this version has, and no earlier one.
_OF_THIS_VERSION = "cases"


def is_of_this_version(config: Mapping[str, Any]) -> bool:
    """Whether a merged configuration has the parts of this version's ``train.yaml``."""
    return _OF_THIS_VERSION in config


def configuration_of(run: RunFolder, train: str | Path) -> dict[str, Any]:
    """A run's configuration in the words of this version.

    That of an earlier version becomes ``train.yaml`` of today with the run's settings, preprocessing, network
    and datalist. Its method and schedule are left out: a scoring has no use for them.

    Args:
        run: the run.
        train: today's ``train.yaml``.

    Raises:
        InputError: no configuration, or a list of evaluated settings, as the earliest version wrote it.
    """
    config = run.settings()
    if is_of_this_version(config):
        return config
    if "run" not in config:
        fault = "is a list of settings, as an earlier version wrote it, and no config file"
        remedy = "name the files that the run was trained with (train.yaml, overlays), then evaluate.yaml"
        raise InputError(run.config, fault, remedy)
    today: dict[str, Any] = ConfigParser.load_config_file(str(train))
    for name, value in config.items():
        if name in today and (name in _KEPT_PARTS or is_value(value)):
            today[name] = value
    return today


def is_value(setting: Any) -> bool:
    """Whether a setting of a configuration is its value, and no expression or part of it."""
    if isinstance(setting, str):
        return not setting.startswith(("$", "@", "%"))
    if isinstance(setting, dict):
        return "_target_" not in setting and all(map(is_value, setting.values()))
    return all(map(is_value, setting)) if isinstance(setting, list) else True
