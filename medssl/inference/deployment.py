"""A trained model with the preprocessing that it was trained with, from a bundle and checkpoints."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser
from monai.transforms import Compose
from torch import nn

from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder
from medssl.inference.checkpoints import load_checkpoint, load_network
from medssl.inference.deployable import deployable
from medssl.training.options import SEPARATOR, references_in

TRAINED_WITH = (
    *("in_channels", "num_classes", "width", "patch_size", "stride", "spacing", "h5_spacing"),
    *("amp", "channels_last"),
)
"""Settings that a checkpoint's ``meta`` keeps and that hold for its predictions; and ``orientation``, which a
checkpoint of before there was any has not: its scans keep the order in which they are stored."""

KEPT_BY_RUN = ("preprocessing", "amp", "channels_last", "class_names")
"""Settings of a run's ``config.yaml`` that hold for the predictions of its checkpoints."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deployment:
    """What a prediction needs.

    Attributes:
        networks: one a checkpoint, in evaluation mode.
        transform: the preprocessing; its first transform loads the image.
        settings: the bundle's, as numbers and text: ``num_classes``, ``patch_size``, ``stride``, ``amp``,
            ``channels_last``, ``class_names`` and so on.
    """

    networks: list[nn.Module]
    transform: Compose
    settings: Mapping[str, Any]


def load_deployment(
    bundle: str | Path,
    checkpoints: Sequence[str | Path],
    *,
    config_files: Sequence[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    both_decoders: bool = False,
) -> Deployment:
    """Read a bundle's ``inference.yaml`` as the checkpoints were trained.

    The configuration is ``configs/inference.yaml``, :data:`KEPT_BY_RUN` of the run in whose folder the
    checkpoint lies, what the checkpoint says of itself (:data:`TRAINED_WITH`), ``config_files`` and
    ``overrides``, in this order. For a checkpoint elsewhere the data-set overlay that it names stands in for
    the run.

    Args:
        bundle: folder of the bundle.
        checkpoints: one, or the members of an ensemble.
        config_files: further overlays.
        overrides: settings by id, such as ``{"stride": [8, 8, 4]}``.
        both_decoders: build the network with both decoders.

    Raises:
        InputError: no such bundle or file; an overlay that the bundle lacks; members that were trained with
            different settings; what :func:`medssl.inference.load_network` raises.
    """
    configs = Path(bundle) / "configs"
    base = configs / "inference.yaml"
    if not base.is_file():
        raise InputError(base, "no such file", "give the folder of a bundle, such as bundles/tcseg")
    metas = [load_checkpoint(path)["meta"] for path in checkpoints]
    trained = [
        {key: meta[key] for key in (*TRAINED_WITH, "overlay") if key in meta}
        | {"orientation": meta.get("orientation")}
        for meta in metas
    ]
    kept = [_kept_by_run(path) for path in checkpoints]
    for path, found, run in zip(checkpoints, trained, kept, strict=True):
        # A member that was moved away from its run cannot be compared with the others' preprocessing.
        if found != trained[0] or (run and kept[0] and run["preprocessing"] != kept[0]["preprocessing"]):
            raise InputError(path, f"was trained otherwise than {checkpoints[0]}", "use runs of one setting")
    files = [base]
    overlay = trained[0].pop("overlay", None)
    if kept[0]:
        trained[0] |= kept[0]
    elif overlay:
        files.append(configs / "datasets" / f"{overlay}.yaml")
    elif not config_files:
        logger.warning("%s does not say its data-set overlay: general preprocessing is used", checkpoints[0])
    parser = ConfigParser()
    for file in [*files, *map(Path, config_files)]:
        _read(parser, file, trained[0] if file == files[-1] else {})
    for key, value in (overrides or {}).items():
        if key.split("::")[0] not in parser.get():
            raise InputError(f"setting {key}", "the bundle does not have it", "look into its inference.yaml")
        parser[key] = value
    if both_decoders:
        parser["network_def::_target_"] = "medssl.networks.DualDecoderVNet"
    parser.parse()
    network: nn.Module = parser.get_parsed_content("network_def")
    channels_last = bool(parser.get_parsed_content("channels_last"))
    networks = []
    for path in checkpoints:
        member = copy.deepcopy(network)
        load_network(path, member)
        networks.append(deployable(member, channels_last=channels_last))
    names = ("num_classes", "patch_size", "stride", "amp", "channels_last", "class_names", "h5_spacing")
    settings = {name: parser.get_parsed_content(name) for name in names}
    return Deployment(networks, parser.get_parsed_content("transform"), settings)


def _read(parser: ConfigParser, file: Path, then: Mapping[str, Any]) -> None:
    """Lay a file over what the parser has, and settings over the file."""
    if not file.is_file():
        raise InputError(file, "no such file", "name a config file of the bundle with --config-file")
    try:
        content = ConfigParser.load_config_file(str(file))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(file, f"cannot be read ({str(error).splitlines()[0]})", "repair it") from error
    if not parser.get():
        parser.set(content)
    else:
        for key, value in content.items():
            parser[key] = value
    for key, value in then.items():
        if key == "imports":
            value = [*parser["imports"], *(line for line in value if line not in parser["imports"])]
        parser[key] = value


def _kept_by_run(checkpoint: str | Path) -> dict[str, Any]:
    """What the configuration beside a checkpoint says of its predictions; empty where there is none.

    With what the preprocessing refers to, but not what is no setting of a prediction (``label_map``, which a
    datalist brings: no label is read there).
    """
    run = RunFolder(Path(checkpoint).parent)
    config = run.settings() if run.config.is_file() else {}
    if "run" not in config:  # no whole configuration, such as that of an earlier version
        return {}
    names = [name for name in (*KEPT_BY_RUN, "imports") if name in config]
    for name in names:
        tops = {reference.split(SEPARATOR)[0] for reference in references_in(config[name])}
        names += sorted(tops & set(config) - set(names) - {*TRAINED_WITH, "label_map"})
    return {name: config[name] for name in names}
