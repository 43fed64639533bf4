"""A trained network as inference wants it, and its probabilities of a batch of windows."""

import copy
from typing import Literal, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from medssl.common.precision import autocast
from medssl.networks import Output

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def to_channels_last(tensor: Tensor) -> Tensor:
    """A tensor of four or five axes in channels-last layout (faster convolutions); others as they are."""
    layout = _LAYOUTS.get(tensor.ndim)
    return tensor if layout is None else tensor.contiguous(memory_format=layout)


def class_probabilities(
    network: nn.Module, windows: Tensor, *, amp: Literal["off", "bf16"] = "off", channels_last: bool = True
) -> tuple[Tensor, ...]:
    """Softmax ``(B, K, *S)`` of every decoder's logits, in float32, without gradient.

    Validation, scores and exports all run a network here, so that precision and memory layout are the same.

    Args:
        network: gives logits ``(B, K, *S)`` or an :class:`~medssl.networks.Output`.
        windows: images ``(B, C, *S)``, where the network is.
        amp: ``"bf16"`` runs the network under autocast.
        channels_last: hand the windows over in channels-last layout; faster convolutions.
    """
    if channels_last:
        windows = to_channels_last(windows)
    with torch.no_grad(), autocast(windows.device, amp):
        output = network(windows)
    logits = output.logits if isinstance(output, Output) else (output,)
    return tuple(torch.softmax(values.float(), 1) for values in logits)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch norms are folded into the convolutions before them.

    Exact up to rounding; for inference only. Covers ``nn.Sequential`` of a convolution, or of modules that
    end in one, followed by a batch norm, as in :class:`medssl.networks.VNet`; any other batch norm stays, as
    does one without running statistics.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        if not _is_chain(module):
            continue
        for index in range(len(module) - 1):
            owner, last = module, index
            while _is_chain(inner := owner[last]) and len(inner):
                owner, last = inner, len(inner) - 1
            conv, norm = owner[last], module[index + 1]
            if (
                isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
                and norm.running_mean is not None
                and isinstance(conv, nn.modules.conv._ConvNd)
            ):
                transposed = isinstance(conv, nn.modules.conv._ConvTransposeNd)
                if transposed and conv.groups > 1:
                    continue  # torch folds these along the wrong axis
                owner[last] = fuse_conv_bn_eval(conv, norm, transpose=transposed)
                module[index + 1] = nn.Identity()
    return folded


def _is_chain(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether its modules run one after the other, which a subclass may have changed."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def deployable(network: nn.Module, *, channels_last: bool = True) -> nn.Module:
    """The network as inference wants it: evaluation mode, batch norms folded, channels-last weights."""
    ready = fold_batch_norm(network)
    if channels_last:
        for tensor in (*ready.parameters(), *ready.buffers()):
            tensor.data = to_channels_last(tensor.data)
    return ready
