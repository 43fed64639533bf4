"""What a bundle's configuration says of its model, as the plain data that its checkpoints keep."""

import pydoc
from collections.abc import Mapping
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.config_item import ConfigComponent

from medssl.common.errors import InputError
from medssl.data.reading.orientation import parse_orientation
from medssl.inference.checkpoints import Checkpoint
from medssl.inference.description import PLAIN_TRANSFORMS, TARGET, read_description, transform_class
from medssl.training.configuration import calling

_REMEDY = "write numbers and text, or name a class with _target_ and give its arguments"


def model_description() -> Checkpoint:
    """Network, preprocessing and windows of a training, for the ``meta`` of its checkpoints.

    To be called by an expression of the configuration (``$training.model_description()``), whose
    ``network_def``, ``preprocessing``, ``num_classes``, ``patch_size``, ``stride``, ``orientation``,
    ``spacing``, ``amp``, ``channels_last`` and ``class_names`` it reads, expressions and references replaced
    by their values.

    Raises:
        InputError: the network is not named by ``_target_``, a transform of another list than
            :data:`~medssl.inference.description.PLAIN_TRANSFORMS` and the user's own, or an argument that is
            not plain data.
    """
    parser = calling(ConfigParser)
    network = _described(parser, "network_def")
    if not isinstance(network, Mapping) or TARGET not in network:
        raise InputError("network_def", "names no class", _REMEDY)
    orientation = parse_orientation(parser.get_parsed_content("orientation"))
    steps = (_step(parser, f"preprocessing::{index}") for index in range(len(parser["preprocessing"])))
    values = {
        name: _plain(parser.get_parsed_content(name), name)
        for name in ("num_classes", "patch_size", "stride", "spacing", "amp", "class_names")
    }
    meta = {
        **values,
        "network": network,
        "preprocessing": [step for step in steps if step is not None],
        "orientation": orientation,
        "channels_last": bool(parser.get_parsed_content("channels_last")),
    }
    read_description("the configuration", meta)  # faults end here and not when somebody predicts
    return meta


def _step(parser: ConfigParser, name: str) -> dict[str, Any] | None:
    """Name and arguments of a transform; None for one that is disabled."""
    if parser.get_parsed_content(name) is None:
        return None
    component = _described(parser, name)
    if not isinstance(component, Mapping) or TARGET not in component:
        raise InputError(name, "names no class", _REMEDY)
    arguments = {key: value for key, value in component.items() if key not in (TARGET, "label_map")}
    dotted = component[TARGET]
    short = dotted.rpartition(".")[2]
    transform = pydoc.locate(dotted)
    if short in PLAIN_TRANSFORMS and transform is transform_class(short, where=name):
        return {"name": short, "arguments": arguments}
    if dotted.split(".")[0] in ("medssl", "monai"):
        raise InputError(
            name,
            f"{dotted} is no transform that a checkpoint can name",
            "take one of " + ", ".join(PLAIN_TRANSFORMS) + ", or a class of your own",
        )
    return {"name": dotted, "arguments": arguments}


def _described(parser: ConfigParser, name: str) -> Any:
    """An entry of the configuration with components left as names and arguments."""
    config = parser[name]
    while isinstance(config, str) and config.startswith("@") and config[1:] in parser:
        name = config[1:]
        config = parser[name]
    if isinstance(config, list):
        return [_described(parser, f"{name}::{index}") for index in range(len(config))]
    if not isinstance(config, Mapping):
        return _plain(parser.get_parsed_content(name), name)
    arguments = {
        key: _described(parser, f"{name}::{key}") for key in config if key not in ConfigComponent.non_arg_keys
    }
    if not ConfigComponent.is_instantiable(config):
        return arguments
    if config.get("_mode_", "default") != "default" or not isinstance(config[TARGET], str):
        raise InputError(name, "is no plain call of a class", _REMEDY)
    target = ConfigComponent(config, locator=parser.ref_resolver.get_item(name).locator)
    return {TARGET: target.resolve_module_name(), **arguments}


def _plain(value: Any, name: str) -> Any:
    """The value, if it is of the types that YAML knows."""
    if isinstance(value, list | tuple):
        return [_plain(entry, name) for entry in value]
    if isinstance(value, Mapping):
        return {key: _plain(entry, name) for key, entry in value.items()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise InputError(name, f"is of type {type(value).__name__}, which no checkpoint holds", _REMEDY)
