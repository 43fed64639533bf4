"""What follows a training takes its settings from the run's folder, and refuses others."""

from pathlib import Path
from typing import Any

from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder
from medssl.training.configuration import HOW_AND_WHERE, first_difference, merged_configuration

FREE_IN_SCORING = (
    *HOW_AND_WHERE,
    "setting",
    "evaluate_on",
    "unit",
    "nsd_tolerance",
    "reliability_margin",
    "stride",
    "amp",
    "channels_last",
    "class_names",
)
"""Settings that a scoring may choose for itself: how it measures, and how exactly it computes."""

# An overlay for the scoring has these of its own.
_PARTS_OF_THE_SCORING = ("imports", "initialize", "run", "finalize", "validate", "network")


def require_trained_settings(run_dir: str | Path) -> None:
    """Refuse to score a run with other settings than those that it was trained with.

    To be called by an expression of the configuration, before the data are looked at.

    Args:
        run_dir: the run's folder.

    Raises:
        InputError: no run there; the first setting that differs, but for :data:`FREE_IN_SCORING`; a
            ``config.yaml`` of an earlier version as the first config file.
    """
    run = RunFolder(Path(run_dir))
    run.read()
    trained, asked = run.settings(), merged_configuration()
    whole = "run" in trained  # and not the list of evaluated settings that earlier versions wrote
    if "network_def" not in asked:
        fault = "is a list of settings, as an earlier version wrote it, and no config file"
        remedy = "name the files that the run was trained with (train.yaml, overlays), then this one"
        raise InputError(run.config, fault, remedy)
    for name, value in trained.items():
        if name in (*FREE_IN_SCORING, *_PARTS_OF_THE_SCORING):
            continue
        if not whole and not (name in asked and _is_value(asked[name])):
            continue  # evaluated there and an expression here
        difference = first_difference(name, asked.get(name), value)
        if difference is not None:
            remedy = "give the run's settings" + (
                f": {run.config} is a config file of them all" if whole else ""
            )
            raise InputError(run.path, f"was trained otherwise: {difference}", remedy)


def require_trained_split(run_dir: str | Path, split_sha256: str) -> None:
    """Refuse a datalist that is not the one that a run was trained with.

    Raises:
        InputError: its hash is another one than in ``run.json``.
    """
    run = RunFolder(Path(run_dir))
    trained = str(run.read().get("split_sha256"))
    if split_sha256 != trained:
        raise InputError(
            run.path,
            f"was trained with another split ({trained[:12]} there, {split_sha256[:12]} here)",
            "give the data, or the datalist, of its training",
        )


def _is_value(setting: Any) -> bool:
    """Whether a setting of a configuration is its value, and no expression of it."""
    if isinstance(setting, str):
        return not setting.startswith(("$", "@", "%"))
    if isinstance(setting, dict):
        return "_target_" not in setting and all(map(_is_value, setting.values()))
    return all(map(_is_value, setting)) if isinstance(setting, list) else True
