"""Checkpoints of before they described their model: the description is put together, and nothing evaluated.

They kept numbers (``width``, ``num_classes``, ...) and the name of the network's class; how scans were
prepared stands in the run's ``config.yaml`` beside them, in MONAI's syntax. Of that syntax only what those
configurations held is understood: references to settings, and two expressions, by their text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder

_NETWORKS = ("VNet", "DualDecoderVNet")
_KEPT = ("num_classes", "patch_size", "stride", "orientation", "spacing", "amp", "channels_last")
_ABOVE_MINIMUM = "$lambda x: x > x.min()"
_WITHOUT_SPACING = "$@spacing is None"
_REMEDY = "put the config.yaml of its run beside it, or train anew"


def is_earlier(meta: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was written before checkpoints described their model."""
    network = meta.get("network")
    return isinstance(network, Mapping) and "class" in network


def described_anew(path: str | Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The ``meta`` of an earlier checkpoint as one of today has it.

    Args:
        path: of the checkpoint; ``config.yaml`` of its run lies beside it.
        meta: as it was loaded.

    Raises:
        InputError: no configuration beside it, or one that says more than an earlier version could.
    """
    name = meta["network"]["class"]
    missing = [
        key for key in ("in_channels", "width", "num_classes", "patch_size", "stride") if key not in meta
    ]
    if name not in _NETWORKS or missing:
        raise InputError(path, "an earlier version wrote it and says too little", "train anew")
    config_file = RunFolder(Path(path).parent)
    config = config_file.settings() if config_file.config.is_file() else {}
    steps = config.get("preprocessing")
    if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
        fault = "an earlier version wrote it, and does not say how scans are prepared"
        raise InputError(path, fault, _REMEDY)
    settings = {**config, **meta}
    kept = {key: meta.get(key) for key in _KEPT} | {"amp": meta.get("amp", "off")}
    return kept | {
        "network": {
            "_target_": f"medssl.networks.{name}",
            **{key: meta[key] for key in ("in_channels", "num_classes", "width")},
        },
        "preprocessing": [
            _step(step, settings, config_file.config)
            for step in steps
            if not (step.get("_disabled_") == _WITHOUT_SPACING and meta.get("spacing") is None)
        ],
        "channels_last": meta.get("channels_last", True),
        "class_names": config.get("class_names"),
    }


def _step(step: Mapping[str, Any], settings: Mapping[str, Any], config: Path) -> dict[str, Any]:
    name = str(step["_target_"]).rpartition(".")[2]
    arguments = {
        key: value for key, value in step.items() if key not in ("_target_", "_disabled_", "label_map")
    }
    if arguments.get("select_fn") == _ABOVE_MINIMUM:
        del arguments["select_fn"]
        name = "CropAboveMinimumd"
    for key, value in arguments.items():
        if isinstance(value, str) and value.startswith("@"):
            arguments[key] = settings.get(value[1:])
        if isinstance(arguments[key], str) and arguments[key].startswith(("$", "@", "%")):
            raise InputError(config, f"preprocessing: {key} of {name} is {value!r}", "train anew")
    return {"name": name, "arguments": arguments}
