"""Reading a checkpoint: its contents, and its weights in a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.common.files import sha256_of_file

Checkpoint = dict[str, Any]


_KEYS = {
    "method",
    "network",
    "deployed",
    "optimizer",
    "scheduler",
    "scaler",
    "rng",
    "progress",
    "best",
    "meta",
}


_TEACHER = "teacher.network."


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint to the CPU.

    Raises:
        InputError: no such file, a truncated one, or not a checkpoint of a training.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such checkpoint", "give the path of a best.pt or last.pt")
    remedy = "give a best.pt or last.pt that a training here wrote"
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a restricted unpickler on arbitrary bytes raises anything
        raise InputError(
            path, "cannot be read as a checkpoint (truncated or of another kind)", remedy
        ) from error
    if not isinstance(checkpoint, dict) or not _KEYS.issubset(checkpoint):
        raise InputError(path, "not a checkpoint of a training", remedy)
    return checkpoint


def load_network(
    path: str | Path, network: nn.Module, *, part: Literal["network", "teacher"] = "network"
) -> Checkpoint:
    """Load a checkpoint's weights into ``network``, in place, and return the checkpoint.

    Weights that ``network`` does not have (a second decoder) are left out; none of its own may be missing.

    Args:
        path: a ``best.pt`` or ``last.pt``.
        network: the network, such as the deployed one.
        part: the student (``"network"``) or its teacher.

    Raises:
        InputError: as :func:`load_checkpoint`; no teacher in the checkpoint; another architecture.
    """
    checkpoint = load_checkpoint(path)
    state: Mapping[str, Tensor] = checkpoint["network"]
    if part == "teacher":
        method = checkpoint["method"]
        state = {k.removeprefix(_TEACHER): v for k, v in method.items() if k.startswith(_TEACHER)}
        if not state:
            name = checkpoint["meta"]["method"]
            raise InputError(path, f"{name} has no teacher", 'choose part="network"')
    elif part != "network":
        raise ValueError(f"part must be 'network' or 'teacher', got {part!r}")
    wanted = network.state_dict()
    check_architecture(path, wanted, state)
    network.load_state_dict({key: state[key] for key in wanted})
    return checkpoint


def trained_orientation(path: str | Path) -> str | None:
    """The orientation that a checkpoint's scans were brought to; None for one of before there was any.

    Raises:
        InputError: as :func:`load_checkpoint`.
    """
    orientation: str | None = load_checkpoint(path)["meta"].get("orientation")
    return orientation


def with_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """``network`` with a checkpoint's weights, as :func:`load_network` loads them."""
    load_network(path, network)
    return network


def check_architecture(path: str | Path, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Refuse a checkpoint that lacks one of the ``wanted`` tensors or has it in another shape."""
    for key, tensor in wanted.items():
        found = "no such weight" if key not in given else f"{tuple(given[key].shape)}"
        expected = f"{tuple(tensor.shape)}"
        if found != expected:
            raise InputError(
                path,
                f"checkpoint of another architecture: {key} is {found} there, {expected} here",
                "build the network with the settings it was trained with",
            )


def model_record(checkpoints: Sequence[str | Path]) -> list[dict[str, str]]:
    """File name, run and SHA-256 of every checkpoint of a model: which weights made a prediction."""
    return [
        {"file": path.name, "run": path.absolute().parent.name, "sha256": sha256_of_file(path)}
        for path in map(Path, checkpoints)
    ]
