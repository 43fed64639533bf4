"""Reading a checkpoint: its contents, and its weights in a network."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssl.common.errors import InputError
from medssl.common.files import sha256_of_file
from medssl.common.run_folder import RunFolder
from medssl.data.lists.layout import name_some

Checkpoint = dict[str, Any]
Which = Literal["best", "last"]

_KEYS = {
    *("method", "network", "deployed", "optimizer", "scheduler", "scaler", "rng", "progress", "best", "meta")
}
_TEACHER = "teacher.network."


def checkpoint_file(place: str | Path, which: Which = "last") -> Path:
    """The checkpoint of a run's folder; the path of a checkpoint is itself.

    Raises:
        InputError: nothing there.
    """
    path = Path(place)
    if path.is_dir():
        folder, path = path, path / f"{which}.pt"
        if not path.is_file():
            raise InputError(folder, f"holds no {which}.pt", "give the folder of a run that has been trained")
    if not path.is_file():
        raise InputError(
            path, "no such run or checkpoint", "give the folder of a run, or its best.pt or last.pt"
        )
    return path


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
        part: what predicts (``"network"``), the student unless its teacher is deployed; or the teacher.

    Raises:
        InputError: as :func:`load_checkpoint`; no teacher in the checkpoint; another architecture.
    """
    checkpoint = load_checkpoint(path)
    load_weights(path, checkpoint, network, part=part)
    return checkpoint


def load_weights(
    path: str | Path,
    checkpoint: Checkpoint,
    network: nn.Module,
    *,
    part: Literal["network", "teacher"] = "network",
) -> None:
    """As :func:`load_network`, from a checkpoint that has been read; ``path`` is for messages."""
    state: Mapping[str, Tensor] = checkpoint["network"]
    if part == "teacher":
        method = checkpoint["method"]
        state = {k.removeprefix(_TEACHER): v for k, v in method.items() if k.startswith(_TEACHER)}
        if not state:
            name = checkpoint["meta"]["method"]
            raise InputError(path, f"{name} has no teacher", 'choose part="network"')
    elif part != "network":
        raise ValueError(f"part must be 'network' or 'teacher', got {part!r}")
    expected = network.state_dict()
    check_architecture(path, expected, state)
    network.load_state_dict({key: state[key] for key in expected})


def check_architecture(
    path: str | Path, expected: Mapping[str, Tensor], stored: Mapping[str, Tensor]
) -> None:
    """Refuse a checkpoint that lacks one of the ``expected`` tensors or has it in another shape."""
    for key, tensor in expected.items():
        there = f"{tuple(stored[key].shape)}" if key in stored else "no such weight"
        here = f"{tuple(tensor.shape)}"
        if there != here:
            raise InputError(
                path,
                f"checkpoint of another architecture: {key} is {there} there, {here} here",
                "build the network with the settings it was trained with",
            )


def refuse_training_cases(checkpoint: str | Path, cases: Iterable[str]) -> None:
    """Refuse cases on whose labels a checkpoint was trained, as far as the run's folder around it tells.

    Raises:
        InputError: there are some; they are named.
    """
    run = RunFolder(Path(checkpoint).parent)
    record = run.read() if run.record.is_file() else {}
    trained_on = set(record.get("training_cases") or ())
    seen = [case for case in cases if case in trained_on]
    if seen:
        raise InputError(
            checkpoint,
            f"was trained on the labels of {len(seen)} of these cases ({name_some(seen)})",
            "give the datalist of its training, or a list without them",
        )


def model_record(checkpoints: Sequence[str | Path]) -> list[dict[str, str]]:
    """File name, run and SHA-256 of every checkpoint of a model: which weights made a prediction."""
    return [
        {"file": path.name, "run": path.absolute().parent.name, "sha256": sha256_of_file(path)}
        for path in map(Path, checkpoints)
    ]
