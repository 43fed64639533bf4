"""Volumes annotated by a MONAI bundle: anybody's network, with its own preprocessing and inferer."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Invertd
from numpy.typing import NDArray
from torch import Tensor, nn

from medssl.annotators.folder import ImageFiles, first_file
from medssl.annotators.prompts import class_probabilities
from medssl.common.errors import InputError
from medssl.common.files import sha256_of_file

CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
WEIGHTS = "models/model.pt"
PROMPTS = "class_vector"
"""Argument of a network that is asked for classes by their ids, as VISTA-3D is."""

Activation = Literal["softmax", "sigmoid", "none"]


class MonaiBundle:
    """A bundle in the form of MONAI's specification, by its folder.

    Of its inference configuration ``network_def``, ``preprocessing`` and ``inferer`` are used, as MONAI's
    bundle API builds them, and the activation of ``postprocessing``. Expressions in it are evaluated and its
    own Python files are imported: it is a program of whoever wrote it. Probabilities go back to the voxels of
    the scan's file by MONAI's ``Invertd``, in linear interpolation; what a crop took away is our class 0.

    A network whose ``forward`` takes ``class_vector`` (VISTA-3D) is asked for the wanted classes alone.

    Args:
        folder: of the bundle, with ``configs/inference.json`` (or ``.yaml``) and ``models/model.pt``.
        classes: names of our ``K`` classes.
        class_map: our class ids, and which of the bundle's make up each: ``{0: [0], 1: [7, 8]}``. Of
            classes that exclude each other (softmax) probabilities are added, and what none of ours names
            counts as our class 0; of independent ones (sigmoid, class prompts) the largest counts, and our
            class 0, where it names none, is 1 minus the largest of all.
        weights: another file of weights than ``models/model.pt``.
        activation: what makes probabilities of the network's output; by default what the bundle's
            postprocessing does, else softmax, for class prompts sigmoid.
        device: such as ``"cuda:0"``.

    Raises:
        InputError: no bundle, a part of it is missing or cannot be built, weights that do not fit, or a class
            map with classes that we do not have.
    """

    axes = 3

    def __init__(
        self,
        folder: str | Path,
        classes: Sequence[str],
        class_map: Mapping[int, Sequence[int]],
        *,
        weights: str | Path | None = None,
        activation: Activation | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.folder, self.classes, self.device = Path(folder), tuple(classes), torch.device(device)
        self.class_map = _checked(class_map, len(self.classes))
        self.weights = self.folder / WEIGHTS if weights is None else Path(weights)
        parser = _parser(self.folder, self.device)
        self.network: nn.Module = _part(parser, "network_def", self.folder)
        self.preprocessing = _part(parser, "preprocessing", self.folder)
        self.inferer = _part(parser, "inferer", self.folder)
        self.is_prompted = PROMPTS in inspect.signature(self.network.forward).parameters
        default: Activation = "sigmoid" if self.is_prompted else "softmax"
        self.activation: Activation = activation or _activation(parser) or default
        _load_weights(self.network, self.weights)
        self.network = self.network.to(self.device).eval()
        self._invert = Invertd(
            keys="pred", transform=self.preprocessing, orig_keys="image", nearest_interp=False, to_tensor=True
        )

    @property
    def record(self) -> Mapping[str, Any]:
        """The bundle's name, its weights, the class map and the activation."""
        return {
            "model": "bundle",
            "weights": self.folder.absolute().name,
            "weights_version": [sha256_of_file(self.weights)],
            "class_map": {str(ours): list(theirs) for ours, theirs in self.class_map.items()},
            "activation": self.activation,
        }

    @torch.inference_mode()
    def annotate(self, image: ImageFiles) -> NDArray[np.float32]:
        """See :class:`medssl.annotators.base.Annotator`.

        Raises:
            InputError: the bundle's preprocessing cannot read or the network not take the scan, or it has
                fewer classes than the class map names.
        """
        source = str(image) if isinstance(image, (str, Path)) else [str(path) for path in image]
        try:
            item = self.preprocessing({"image": source})
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            fault = f"the bundle cannot read it ({_first_line(error.__cause__ or error)})"
            raise InputError(first_file(image), fault, "see what its preprocessing is for") from error
        scan = item["image"]
        scores = self._scores(scan.as_tensor().unsqueeze(0).to(self.device))
        probs = self._ours(scores.float().cpu())
        # MetaTensors know what was done to them; the probabilities take over what was done to the scan.
        inverted = self._invert({"image": scan, "pred": MetaTensor(probs, meta=dict(scan.meta))})["pred"]
        values = torch.as_tensor(inverted).float().clamp(0, 1)
        values[0] += (1 - values.sum(0)).clamp_min(0)  # outside of what the network saw
        result: NDArray[np.float32] = (values / values.sum(0)).numpy()
        return result

    def _scores(self, images: Tensor) -> Tensor:
        """Scores of the bundle's classes on the network's grid, ``(Kb, *S)``.

        Of a network that is asked for classes, those that the class map names, in its order.
        """
        arguments: dict[str, Any] = {}
        if self.is_prompted:
            ids = [theirs for group in self.class_map.values() for theirs in group]
            arguments[PROMPTS] = torch.tensor(ids, device=self.device).unsqueeze(1)
            if "transpose" in inspect.signature(self.network.forward).parameters:
                arguments["transpose"] = True  # classes second, as sliding windows need them
        logits = self.inferer(images, self.network, **arguments)
        logits = logits[0] if isinstance(logits, (tuple, list)) else logits
        logits = torch.as_tensor(logits)[0]
        if self.activation == "none":
            return logits.clamp(0, 1)
        # One channel is one class against the rest: a softmax of it would be 1 everywhere.
        is_independent = self.activation == "sigmoid" or len(logits) == 1
        return logits.sigmoid() if is_independent else logits.softmax(0)

    def _ours(self, scores: Tensor) -> Tensor:
        """``(Kb, *S)`` -> ``(K, *S)``."""
        groups = [list(self.class_map.get(index, [])) for index in range(len(self.classes))]
        if self.is_prompted:
            return class_probabilities(scores, [len(group) for group in groups])
        wanted = [theirs for group in groups for theirs in group]
        if max(wanted) >= len(scores):
            fault = f"names class {max(wanted)}, the bundle has {len(scores)}"
            raise InputError("class map", fault, f"ids are 0 to {len(scores) - 1}")
        if self.activation == "sigmoid" or len(scores) == 1:
            return class_probabilities(scores[wanted], [len(group) for group in groups])
        foreground = [scores[group].sum(0) for group in groups[1:]]
        return torch.stack([(1 - sum(foreground, torch.zeros_like(scores[0]))).clamp_min(0), *foreground])


def parse_class_map(pairs: Sequence[str]) -> dict[int, list[int]]:
    """``["0=0", "1=7,8"]`` -> ``{0: [0], 1: [7, 8]}``.

    Raises:
        InputError: something else.
    """
    result: dict[int, list[int]] = {}
    for pair in pairs:
        ours, _, theirs = pair.partition("=")
        try:
            result[int(ours)] = [int(number) for number in theirs.split(",")]
        except ValueError as error:
            raise InputError(f"class map {pair!r}", "is not OURS=THEIRS", "write 0=0 1=7,8") from error
    return result


def _checked(class_map: Mapping[int, Sequence[int]], num_classes: int) -> dict[int, list[int]]:
    """The class map in the order of our classes."""
    where = f"class map {dict(class_map)}"
    missing = [index for index in range(1, num_classes) if not class_map.get(index)]
    if missing:
        raise InputError(where, f"names nothing for class {missing[0]}", "name classes of the bundle for it")
    unknown = [index for index in class_map if not 0 <= index < num_classes]
    if unknown:
        raise InputError(where, f"there is no class {unknown[0]}", f"ours are 0 to {num_classes - 1}")
    theirs = [number for group in class_map.values() for number in group]
    twice = [number for number in theirs if theirs.count(number) > 1 or number < 0]
    if twice:
        raise InputError(where, f"class {twice[0]} comes twice or is negative", "name every class once")
    return {index: list(class_map[index]) for index in sorted(class_map)}


def _parser(folder: Path, device: torch.device) -> ConfigParser:
    """The inference configuration with the bundle's own folder and our device."""
    path = next(
        (folder / "configs" / name for name in CONFIGS if (folder / "configs" / name).is_file()), None
    )
    if path is None:
        fault = f"is no MONAI bundle: it has no configs/{CONFIGS[0]} (or .yaml)"
        raise InputError(folder, fault, "name the bundle's folder")
    if str(folder.absolute()) not in sys.path:  # bundles may bring modules of their own
        sys.path.append(str(folder.absolute()))
    parser = ConfigParser()
    parser.read_config(str(path))
    metadata = folder / "configs" / "metadata.json"
    if metadata.is_file():
        parser.read_meta(str(metadata))
    parser["bundle_root"], parser["device"] = str(folder.absolute()), device
    parser.parse()
    return parser


def _part(parser: ConfigParser, name: str, folder: Path) -> Any:
    if name not in parser:
        raise InputError(folder, f"its inference configuration has no {name!r}", "choose another bundle")
    try:
        parser.get_parsed_content("imports" if "imports" in parser else name)
        return parser.get_parsed_content(name)
    except Exception as error:  # whatever a class or an expression of somebody else's raises
        fault = f"its {name!r} cannot be built ({_first_line(error)})"
        raise InputError(folder, fault, "see what the bundle needs") from error


def _activation(parser: ConfigParser) -> Activation | None:
    """What the first ``Activationsd`` of the postprocessing does; None where there is none."""
    steps = parser.get("postprocessing", {})
    steps = steps.get("transforms", []) if isinstance(steps, Mapping) else []
    for step in steps:
        if isinstance(step, Mapping) and str(step.get("_target_", "")).rsplit(".", 1)[-1].startswith(
            "Activation"
        ):
            if step.get("sigmoid"):
                return "sigmoid"
            if step.get("softmax"):
                return "softmax"
    return None


def _load_weights(network: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise InputError(path, "no such file", "download the bundle's weights, or name another file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("model", "state_dict", "network"):
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
                content = content[key]
        network.load_state_dict(content)
    except Exception as error:  # of the unpickler and of torch, many kinds
        fault = f"does not hold weights of the bundle's network ({_first_line(error)})"
        raise InputError(path, fault, "give the file that came with this bundle") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
