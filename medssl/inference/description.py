"""What a checkpoint says of its model: plain data, and how network and preprocessing are built from it.

Nothing in it is ever evaluated. Names are looked up: transforms among :data:`PLAIN_TRANSFORMS`, networks in
:data:`TRUSTED`; classes of other packages are imported only if the user has named the package.
"""

import pydoc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import monai.transforms
from monai.transforms import Compose, Transform
from torch import nn

import medssl.data
from medssl.common.errors import InputError, unknown_name
from medssl.common.precision import Precision
from medssl.data.reading.orientation import parse_orientation, preprocessing
from medssl.inference.earlier_checkpoints import described_anew, is_earlier
from medssl.networks import Network

PLAIN_TRANSFORMS = (
    *("CropAboveMinimumd", "CropToBoxd", "LoadCased", "NormalizeByForegroundd"),
    *("AdjustContrastd", "AsDiscreted", "BorderPadd", "CastToTyped", "CenterSpatialCropd"),
    *("ClipIntensityPercentilesd", "CropForegroundd", "DivisiblePadd", "EnsureTyped", "GaussianSmoothd"),
    *("HistogramNormalized", "MedianSmoothd", "NormalizeIntensityd", "Resized", "ResizeWithPadOrCropd"),
    *("ScaleIntensityd", "ScaleIntensityRanged", "ScaleIntensityRangePercentilesd", "ShiftIntensityd"),
    *("Spacingd", "SpatialCropd", "SpatialPadd", "ThresholdIntensityd"),
)
"""Transforms that a checkpoint may name: ours (:mod:`medssl.data`), then MONAI's deterministic ones."""

TRUSTED = ("medssl.networks", "monai.networks")
"""Where the networks lie that a checkpoint may name without being asked."""

TARGET = "_target_"


@dataclass(frozen=True)
class ModelDescription:
    """All that a prediction needs to know of a trained model, its weights aside.

    Attributes:
        network: dotted name under ``_target_``, and the arguments; they may hold further networks.
        preprocessing: ``name`` and ``arguments`` of each transform.
        num_classes: classes ``K``, background included.
        patch_size: window, one side an axis, in voxels of the network's grid.
        stride: step between windows; None for no windows: every image is predicted as a whole.
        orientation: in which scans are seen; None for the order in which each is stored.
        spacing: mm of the network's grid; None for every scan's own.
        amp: precision of the training.
        channels_last: memory layout.
        class_names: of class 1, 2 and so on; None where nobody named them.
    """

    network: Mapping[str, Any]
    preprocessing: Sequence[Mapping[str, Any]]
    num_classes: int
    patch_size: tuple[int, ...]
    stride: tuple[int, ...] | None
    orientation: str | None
    spacing: tuple[float, ...] | None
    amp: Precision
    channels_last: bool
    class_names: tuple[str, ...] | None


def read_description(path: str | Path, meta: Mapping[str, Any]) -> ModelDescription:
    """The description in the ``meta`` of a checkpoint.

    Args:
        path: of the checkpoint.
        meta: as it was loaded.

    Raises:
        InputError: a part that is missing, of another type or an expression.
    """
    if is_earlier(meta):
        meta = described_anew(path, meta)
    for name, value in meta.items():
        _refuse_expressions(path, name, value, targets=name == "network")
    fields: dict[str, Callable[[Any], Any]] = {
        "network": lambda value: _require(isinstance(value[TARGET], str), dict(value)),
        "preprocessing": lambda value: [_step(step) for step in value],
        "num_classes": lambda value: _require(_is_count(value) and value > 1, value),
        "patch_size": lambda value: tuple(_require(_is_count(side), side) for side in value),
        "stride": lambda value: (
            None if value is None else tuple(_require(_is_count(step), step) for step in value)
        ),
        "orientation": parse_orientation,
        "spacing": lambda value: None if value is None else tuple(float(step) for step in value),
        "amp": lambda value: _require(value in get_args(Precision), value),
        "channels_last": lambda value: _require(isinstance(value, bool), value),
        "class_names": lambda names: (
            None if names is None else tuple(_require(isinstance(name, str), name) for name in names)
        ),
    }
    values = {}
    for name, parse in fields.items():
        try:
            values[name] = parse(meta[name] if name == "stride" else meta.get(name))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(
                path, f"says of its model {name}={meta.get(name)!r}", "give a best.pt or last.pt as written"
            ) from error
    return ModelDescription(**values)


def build_network(
    description: Mapping[str, Any], *, where: str | Path, allow: Collection[str] = ()
) -> Network:
    """The network of a description, with new weights.

    Pretrained weights that its training began with (:attr:`medssl.networks.Network.initial_weights`) are not
    fetched: those of the checkpoint take their place.

    Args:
        description: dotted name under ``_target_``, and the arguments.
        where: the checkpoint, for messages.
        allow: packages, beside :data:`TRUSTED`, whose classes may be imported.

    Raises:
        InputError: a package that is not allowed, no network of that name, arguments that it does not take,
            or a network that does not say what medssl asks of one.
    """
    network = _instance(description, where, allow)
    if not isinstance(network, Network):
        name = description[TARGET]
        raise InputError(where, f"its network {name} is no medssl.networks.Network", "wrap it in Adapted")
    return network


def build_preprocessing(
    steps: Sequence[Mapping[str, Any]],
    orientation: str | None,
    *,
    where: str | Path,
    allow: Collection[str] = (),
    label_map: Mapping[Any, Any] | None = None,
) -> Compose:
    """The preprocessing of a description; its first transform loads the case.

    Args:
        steps: ``name`` and ``arguments`` of each transform.
        orientation: such as ``RAS``; None keeps the stored order.
        where: the checkpoint, for messages.
        allow: packages whose transforms may be imported.
        label_map: of the labels that are to be loaded, which is that of their datalist.

    Raises:
        InputError: a transform that a checkpoint may not name, or arguments that it does not take.
    """
    transforms = []
    for step in steps:
        arguments = dict(step["arguments"])
        if step["name"] == "LoadCased":
            arguments["label_map"] = label_map
        transform = transform_class(step["name"], where=where, allow=allow)
        try:
            transforms.append(transform(**arguments))
        except (TypeError, ValueError) as error:
            raise _unbuildable(where, step["name"], error) from error
    return preprocessing(transforms, orientation)


def transform_class(name: str, *, where: str | Path, allow: Collection[str] = ()) -> type[Transform]:
    """The transform of that name, of :data:`PLAIN_TRANSFORMS` or, dotted, of an allowed package.

    Raises:
        InputError: there is none.
    """
    if name in PLAIN_TRANSFORMS:
        own: type[Transform] | None = getattr(medssl.data, name, None)
        return own or getattr(monai.transforms, name)  # type: ignore[no-any-return]
    if "." not in name:
        raise unknown_name(f"{where}: transform", name, PLAIN_TRANSFORMS)
    located: type[Transform] = _located(name, Transform, where, allow)
    return located


def _instance(value: Any, where: str | Path, allow: Collection[str]) -> Any:
    """Plain data with every description of a module in it replaced by the module."""
    if isinstance(value, list | tuple):
        return [_instance(entry, where, allow) for entry in value]
    if not isinstance(value, Mapping):
        return value
    arguments = {key: _instance(entry, where, allow) for key, entry in value.items() if key != TARGET}
    if TARGET not in value:
        return arguments
    kind = _located(value[TARGET], nn.Module, where, (*TRUSTED, *allow))
    for name in getattr(kind, "initial_weights", ()):
        arguments.pop(name, None)
    try:
        return kind(**arguments)
    except InputError:
        raise
    except Exception as error:  # whatever a constructor makes of arguments that it does not take
        raise _unbuildable(where, value[TARGET], error) from error


def _located(name: Any, kind: type, where: str | Path, allow: Collection[str]) -> Any:
    """The class of a dotted name, which must lie, and be defined, in one of the allowed packages."""
    if not isinstance(name, str) or not any(name.startswith(f"{package}.") for package in allow):
        package = str(name).split(".")[0]
        raise InputError(
            where, f"names {name!r}, which is not trusted", f"if you trust it, add --allow {package}"
        )
    try:
        located = pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise InputError(where, f"its {name} cannot be imported ({error.value})", "repair it") from error
    if not isinstance(located, type) or not issubclass(located, kind):
        remedy = "put the folder that holds it on PYTHONPATH"
        raise InputError(where, f"names {name}, which is no {kind.__name__} here", remedy)
    tops = {package.split(".")[0] for package in allow}
    if located.__module__.split(".")[0] not in tops:
        raise InputError(where, f"names {name}, which is of {located.__module__}", "name the class itself")
    return located


def _unbuildable(where: str | Path, name: str, error: Exception) -> InputError:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(where, f"{name} cannot be built ({first})", "use the version that trained it")


def _refuse_expressions(path: str | Path, name: str, value: Any, *, targets: bool) -> None:
    """Refuse what MONAI would evaluate, wherever it stands; a component only where a network is described."""
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        fault = f"its {name} is an expression, {value[:60]!r}, which is never evaluated"
        raise InputError(path, fault, "trust no checkpoint that holds one")
    if isinstance(value, Mapping):
        if TARGET in value and not targets:
            raise InputError(path, f"its {name} names a component", "trust no checkpoint that holds one")
        for key, entry in value.items():
            _refuse_expressions(path, f"{name}::{key}", entry, targets=targets)
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            _refuse_expressions(path, f"{name}::{index}", entry, targets=targets)


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    _require(set(step) == {"name", "arguments"} and isinstance(step["name"], str), step)
    return {"name": step["name"], "arguments": dict(step["arguments"])}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _require(condition: bool, value: Any) -> Any:
    if not condition:
        raise ValueError(value)
    return value
