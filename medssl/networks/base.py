"""What a network owes to methods, training and prediction, and how any other network comes to owe it."""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssl.common.errors import InputError

Fitting = Literal["pad", "resize"]
"""How an image whose sides are no multiples of ``patch_multiple`` is brought to such."""


@dataclass(frozen=True)
class Output:
    """What a network gives, decoder by decoder; the deployed decoder first.

    Attributes:
        logits: one tensor ``(B, K, *S)`` a decoder.
        features: one tensor ``(B, C, *T)`` a decoder, the embeddings before dropout and classifier; empty for
            a network that does not show them. Their grid ``T`` is that of the logits, or a coarser one over
            the same image (networks for images classify at a quarter of the resolution).
        context: one tensor ``(B, C', *R)`` a decoder, its coarsest embeddings, such as what atrous spatial
            pyramid pooling gives; empty where a network has none of its own.
    """

    logits: tuple[Tensor, ...]
    features: tuple[Tensor, ...]
    context: tuple[Tensor, ...] = ()


class Network(nn.Module):
    """A segmentation network: all that methods, training and prediction ask of one.

    Attributes:
        patch_multiple: what every side of a patch must be a multiple of; a tuple where axes differ.
        fitting: how a whole image of any size is brought to such multiples: padded with zeros, which
            convolutions forget at a distance, or resized, for transformers, whose tokens all see the padding.
        spatial_axes: 2 or 3; None where the network does not care.
        decoders: how many maps of logits :meth:`forward` gives, for methods that compare them; None where
            that is seen only when it runs.
        deployed_modules: names of the child modules that :meth:`deployed` uses; None for all.
        initial_weights: names of the constructor's arguments that say where the weights come from that a
            training starts with, and nothing of the architecture. A network that is built for the weights
            of a checkpoint is built without them.
    """

    patch_multiple: int | tuple[int, ...] = 1
    fitting: Fitting = "pad"
    spatial_axes: int | None = None
    decoders: int | None = None
    deployed_modules: tuple[str, ...] | None = None
    initial_weights: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x: Tensor) -> Output:
        """Logits and features of images ``(B, C, *S)``."""

    def deployed(self, x: Tensor) -> Tensor:
        """Logits ``(B, K, *S)`` of the path that is validated, exported and predicted with."""
        output: Output = self(x)
        return output.logits[0]

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """``torch.compile`` of both paths, in place; the arguments are torch's."""
        super().compile(*args, **kwargs)  # type: ignore[no-untyped-call]
        object.__setattr__(self, "deployed", torch.compile(self.deployed, *args, **kwargs))


class EncoderDecoder(Network):
    """A network whose encoder and decoders can be run apart, so that a method may perturb what lies between.

    UniMatch drops channels of the encoder's maps; a network that is no ``EncoderDecoder`` cannot be trained
    with such a method.

    Attributes:
        backbone_modules: names of the child modules that are pretrained; the optimiser may give the others,
            the head, a learning rate of their own (:func:`medssl.training.parameter_groups`).
    """

    backbone_modules: tuple[str, ...] = ()

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps ``(B, C_i, *S_i)`` of images ``(B, C, *S)`` that the decoders read, the finest first."""

    @abstractmethod
    def decode(self, maps: Sequence[Tensor], size: Sequence[int]) -> Output:
        """Logits and features from such maps.

        Args:
            maps: as :meth:`encode` gives them.
            size: the images' ``S``, which the logits have.
        """

    def forward(self, x: Tensor) -> Output:
        """Logits and features of images ``(B, C, *S)``."""
        return self.decode(self.encode(x), x.shape[2:])


class Adapted(Network):
    """Any module that gives logits, such as MONAI's ``UNet``, ``SegResNet`` or ``SwinUNETR``.

    Where it gives more than one map (MONAI's networks with deep supervision do so while they train: as a
    list, or stacked along axis 1), the first, at full resolution, is the output; the others are no views of
    their own and are left out.

    Args:
        network: from images ``(B, C, *S)`` to logits ``(B, K, *S)``.
        patch_multiple: what every side of a patch must be a multiple of.
    """

    decoders = 1

    def __init__(self, network: nn.Module, *, patch_multiple: int | Sequence[int] = 1) -> None:
        super().__init__()
        self.network = network
        self.patch_multiple = patch_multiple if isinstance(patch_multiple, int) else tuple(patch_multiple)

    def forward(self, x: Tensor) -> Output:
        """The logits, without features."""
        return Output((self.deployed(x),), ())

    def deployed(self, x: Tensor) -> Tensor:
        """Logits ``(B, K, *S)``.

        Raises:
            TypeError: the module gives no tensor.
        """
        logits = self.network(x)
        if isinstance(logits, list | tuple):
            logits = logits[0]
        if not isinstance(logits, Tensor):
            raise TypeError(f"{type(self.network).__name__} gives {type(logits).__name__}, no logits")
        return logits[:, 0] if logits.ndim == x.ndim + 1 else logits


class Deployed(nn.Module):
    """The deployed path of a network as a module of its own: images ``(B, C, *S)`` to logits ``(B, K, *S)``.

    It shares the network's weights and holds no others; its state-dict keys are the network's. For
    inference and export.

    Args:
        network: whose path it is.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        # The path runs on a shell of the network over the same registries, so that whatever replaces a
        # module or a tensor of one (a move, a copy, a folded batch norm) replaces it in the other.
        shell = copy.copy(network)
        shell.__dict__.pop("deployed", None)  # compiled, of the network itself
        kept = network.deployed_modules
        self._modules = {
            name: child for name, child in network._modules.items() if kept is None or name in kept
        }
        self._parameters, self._buffers = network._parameters.copy(), network._buffers.copy()
        for registry in ("_modules", "_parameters", "_buffers"):
            shell.__dict__[registry] = self.__dict__[registry]
        self.__dict__["_shell"] = shell
        self.train(network.training)

    def train(self, mode: bool = True) -> "Deployed":
        """Set the mode of the path."""
        super().train(mode)
        self.__dict__["_shell"].training = mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.__dict__["_shell"].deployed(x)
        return logits


def check_patch_size(network: nn.Module, patch_size: Sequence[int]) -> None:
    """Refuse a patch that a network cannot take.

    Args:
        network: what is to be trained, or predicts.
        patch_size: one side an axis, in voxels.

    Raises:
        InputError: a side that is no multiple of the network's ``patch_multiple``, the wrong number of sides,
            or no :class:`Network`.
    """
    if not isinstance(network, Network):
        raise InputError(
            f"network {type(network).__name__}",
            "does not say what medssl asks of a network",
            "wrap it: _target_: medssl.networks.Adapted, network: (what it was), patch_multiple: N",
        )
    multiple, axes = network.patch_multiple, network.spatial_axes
    multiples = [multiple] * len(patch_size) if isinstance(multiple, int) else list(multiple)
    listed = "x".join(map(str, patch_size))
    words = f"a multiple of {multiple}" if isinstance(multiple, int) else f"multiples of {multiples}"
    if len(patch_size) != (axes or len(multiples)):
        remedy = f"give {axes or len(multiples)} sides, each {words}"
    elif any(size < step or size % step for size, step in zip(patch_size, multiples, strict=True)):
        pairs = zip(patch_size, multiples, strict=True)
        nearest = "x".join(str(max(step, round(size / step) * step)) for size, step in pairs)
        remedy = f"each side must be {words}; the nearest is {nearest}"
    else:
        return
    raise InputError(f"patch size {listed}", f"{type(network).__name__} cannot take it", remedy)
