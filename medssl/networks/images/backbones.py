"""Backbones of Hugging Face transformers: built from a configuration, with random or pretrained weights.

The architecture follows from the configuration alone and never from the weights, so that a checkpoint is
rebuilt without them, without internet and without the folder they came from.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from medssl.common.errors import InputError, unknown_name

Kind = Literal["ResNet", "Dinov2", "Segformer"]
Config = Mapping[str, Any]

# What classifies images in the published files and is not wanted here, and DINOv2's token of masked patches,
# which is for its own pretraining.
_HEADS = ("classifier", "pooler", "decode_head", "mask_token")


def build_backbone(kind: Kind, config: Config, weights: str | None) -> nn.Module:
    """A backbone in training mode, float32.

    Args:
        kind: architecture; the model class is ``{kind}Model`` of transformers.
        config: arguments of ``{kind}Config``; what is not given is that class's default.
        weights: a name on the Hugging Face hub such as ``microsoft/resnet-101``, or a folder that
            ``save_pretrained`` wrote; None for random ones.

    Raises:
        InputError: transformers is not installed, an argument that the configuration does not have, no such
            weights or no way to the hub, or weights of another architecture.
    """
    transformers = _transformers()
    configuration = _configuration(getattr(transformers, f"{kind}Config"), config)
    model = getattr(transformers, f"{kind}Model")
    if weights is None:
        backbone: nn.Module = model(configuration)
    else:
        _reach(transformers, weights)
        backbone = _pretrained(model, configuration, weights)
    return backbone.train()


def named_config(argument: str, value: str | Config, known: Mapping[str, Config]) -> dict[str, Any]:
    """The configuration of a name, or the one that is given itself.

    Args:
        argument: what the value is called, for messages.
        value: a name among the ``known``, or a configuration.
        known: configurations by name.

    Raises:
        InputError: no such name.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if value not in known:
        raise unknown_name(argument, value, known)
    return dict(known[value])


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            "networks of images", "need the package transformers", "pip install 'medssl[images]'"
        ) from error
    return transformers


def _configuration(kind: Any, config: Config) -> Any:
    # transformers keeps a misspelt argument as an attribute that nothing reads.
    defaults = kind()
    for name in config:
        if not hasattr(defaults, name):
            raise unknown_name(f"argument of {kind.__name__}", name, defaults.to_dict())
    try:
        return kind(**config)
    except Exception as error:  # validators of their own kind, with messages of several lines
        raise InputError(
            kind.__name__, f"refuses {dict(config)} ({_first_line(error)})", "correct it"
        ) from error


def _reach(transformers: Any, weights: str) -> None:
    """Refuse what cannot be had, by the one small file that all weights come with.

    Without a connection, the search for the weights themselves tries every name that they could have, again
    and again, for minutes, and says in the end that they do not exist.
    """
    path = Path(weights)
    is_name_on_hub = not path.is_absolute() and weights.count("/") == 1 and weights[0] not in ".~"
    if not path.is_dir() and not is_name_on_hub:
        raise InputError(
            f"weights {weights}",
            "no such folder",
            "give one that save_pretrained wrote, or a name on the hub",
        )
    try:
        transformers.utils.cached_file(weights, "config.json")
    except OSError as error:
        raise _unreachable(weights, error) from error


def _pretrained(model: Any, configuration: Any, weights: str) -> nn.Module:
    try:
        backbone, report = model.from_pretrained(
            weights, config=configuration, dtype=torch.float32, output_loading_info=True
        )
    except OSError as error:  # what transformers and its hub client raise for all that cannot be had
        raise _unreachable(weights, error) from error
    except (RuntimeError, ValueError) as error:
        raise _of_another_architecture(weights, model, _first_line(error)) from error
    names = sorted(report["missing_keys"]) + [
        name for name in sorted(report["unexpected_keys"]) if not any(head in name for head in _HEADS)
    ]
    if names:
        raise _of_another_architecture(weights, model, f"{names[0]} is on one side only")
    network: nn.Module = backbone
    return network


def _unreachable(weights: str, error: OSError) -> InputError:
    return InputError(
        f"weights {weights}",
        f"cannot be had ({_first_line(error)})",
        "download them where there is internet and give the folder, or null for random ones",
    )


def _of_another_architecture(weights: str, model: Any, fault: str) -> InputError:
    return InputError(
        f"weights {weights}",
        f"are of another architecture than this {model.__name__} ({fault})",
        "name the network that they were trained for, or give its configuration",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
