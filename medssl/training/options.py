"""The options of a command line, as MONAI merged them: what they mean, and those that nobody reads."""

import inspect
import pydoc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ReferenceResolver
from monai.bundle.config_item import ComponentLocator, ConfigComponent

from medssl.common.errors import InputError, unknown_name
from medssl.training.configuration import calling_workflow

SEPARATOR = "::"
_MONAIS = ("imports", "initialize", "run", "finalize", "_meta_")
# What ``--tracking`` adds to a configuration, whether or not something refers to it.
_TRACKING = (
    "output_dir",
    "tracking_uri",
    "experiment_name",
    "run_name",
    "save_execute_config",
    "is_not_rank0",
)

WORDS = {"true": True, "false": False, "null": None}
"""What MONAI's command line leaves as text, and YAML and JSON do not."""


def read_options() -> None:
    """Read yes, no and nothing where a command line left their words, and refuse options that nobody reads.

    To be called by an expression of the configuration, before anything is made of it. From here on, and in
    the ``config.yaml`` of a run, ``true``, ``false`` and ``null`` are what YAML takes them for.

    Raises:
        InputError: as :func:`refuse_unknown_options`; other than yes or no for an option that is either.
    """
    parser = calling_workflow().parser
    config: dict[str, Any] = parser.get()
    _read_words(config)
    # Expressions see the words that were read, and not what was parsed before.
    parser.parse(reset=True)
    for file in _standalone(calling_workflow().config_root_path):
        for name in set(file) & set(config):
            value = config[name]
            is_expression = isinstance(value, str) and value.startswith(("$", "@"))
            if isinstance(file[name], bool) and not isinstance(value, bool) and not is_expression:
                raise InputError(f"{name} {value!r}", "neither true nor false", "give one of the two")
    refuse_unknown_options()


def _read_words(config: Any) -> None:
    """Replace the :data:`WORDS` among the values of a configuration, in place."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        if isinstance(value, dict | list):
            _read_words(value)
        elif isinstance(value, str) and value.lower() in WORDS:
            config[key] = WORDS[value.lower()]


def refuse_unknown_options() -> None:
    """Refuse an option of the command line, or a key of an overlay, that nothing in the configuration reads.

    To be called by an expression of the configuration, before anything is made. MONAI puts every option into
    the configuration, whether or not a config file has it. Known is what

    - a config file with a ``run`` of its own has, that lies where the first one lies (``train.yaml`` and
      ``evaluate.yaml`` of a bundle, ``config.yaml`` of a run's folder), since overlays may take away the
      place that refers to it;
    - something refers to (``@key``), so that an overlay may bring keys for its own expressions;
    - the function or class takes, of the keys beside a ``_target_``.

    Raises:
        InputError: the first other one, with the nearest known name; a ``_target_`` that there is not.
    """
    workflow = calling_workflow()
    config: dict[str, Any] = workflow.parser.get()
    files = _standalone(workflow.config_root_path)
    references = references_in(config)
    for name, value in config.items():
        if name in _MONAIS or ("tracking_uri" in config and name in _TRACKING):
            continue
        _refuse_unread("", name, files, config, references)
        is_section = isinstance(value, Mapping) and "_target_" not in value
        # One that is referred to as a whole is read by whoever gets it.
        if is_section and name not in references:
            sections = [file[name] for file in files if isinstance(file.get(name), Mapping)]
            for key in value:
                _refuse_unread(f"{name}{SEPARATOR}", str(key), sections, value, references)
    for path, component in _components(config):
        _refuse_arguments(path, component, workflow.parser.locator)


def _refuse_unread(
    prefix: str,
    name: str,
    files: Sequence[Mapping[str, Any]],
    siblings: Mapping[str, Any],
    references: set[str],
) -> None:
    """Refuse a key that no file has and that nothing refers to."""
    known = {str(key) for file in files for key in file} - set(_MONAIS)
    known |= {str(key) for key in siblings if _is_read(f"{prefix}{key}", references)}
    if name in known:
        return
    raise unknown_name("option", f"{prefix}{name}", [f"{prefix}{key}" for key in known])


def _refuse_arguments(path: str, component: Mapping[str, Any], locator: ComponentLocator) -> None:
    """Refuse a function or class that there is not, and a key that it does not take."""
    if not isinstance(component["_target_"], str):
        return
    name = ConfigComponent(component, locator=locator).resolve_module_name()
    target = pydoc.locate(name)
    if target is None and "_disabled_" not in component:
        fault = "a _target_ that cannot be imported"
        raise InputError(name, fault, "correct the name, or stand in the folder of its module")
    try:
        parameters = inspect.signature(target).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):  # nothing that can be called, which MONAI says better; or one in C
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    names = [parameter.name for parameter in parameters]
    for key in component:
        if key not in names and key not in ConfigComponent.non_arg_keys:
            known = [f"{path}{SEPARATOR}{name}" for name in names]
            raise unknown_name("option", f"{path}{SEPARATOR}{key}", known)


def _standalone(folder: Path) -> list[Mapping[str, Any]]:
    """The config files in a folder that can be run by themselves, which overlays cannot."""
    files = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            content = ConfigParser.load_config_file(path)
        except (OSError, ValueError, yaml.YAMLError):  # none of those that were merged, or MONAI had failed
            continue
        if isinstance(content, Mapping) and "run" in content:
            files.append(content)
    return files


def references_in(config: Any) -> set[str]:
    """Ids of everything that some text in a configuration refers to."""
    references: set[str] = set()
    if isinstance(config, str):
        references |= set(ReferenceResolver.match_refs_pattern(config))
    elif isinstance(config, Mapping | list):
        for entry in config.values() if isinstance(config, Mapping) else config:
            references |= references_in(entry)
    return references


def _is_read(entry: str, references: set[str]) -> bool:
    """Whether something refers to an entry or to a part of it."""
    return any(name == entry or name.startswith(f"{entry}{SEPARATOR}") for name in references)


def _components(config: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every component of a configuration with its id."""
    if isinstance(config, Mapping) and "_target_" in config:
        yield path, config
    if isinstance(config, Mapping | list):
        for _, inner, entry in ReferenceResolver.iter_subconfigs(path, config):
            yield from _components(entry, inner)
