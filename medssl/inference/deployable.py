"""A trained network as inference wants it."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

MEMORY_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch norms are folded into the convolutions before them.

    Exact up to rounding; for inference only. Covers ``nn.Sequential`` of a convolution, or of modules that
    end in one, followed by a batch norm, as in :class:`medssl.networks.VNet`; any other batch norm stays, as
    does one without running statistics.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for index in range(len(module) - 1):
            owner, place = module, index
            while isinstance(inner := owner[place], nn.Sequential) and len(inner):
                owner, place = inner, len(inner) - 1
            conv, norm = owner[place], module[index + 1]
            if (
                isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
                and norm.running_mean is not None
                and isinstance(conv, nn.modules.conv._ConvNd)
            ):
                transposed = isinstance(conv, nn.modules.conv._ConvTransposeNd)
                if transposed and conv.groups > 1:
                    continue  # torch folds these along the wrong axis
                owner[place] = fuse_conv_bn_eval(conv, norm, transpose=transposed)
                module[index + 1] = nn.Identity()
    return folded


def deployable(network: nn.Module, *, channels_last: bool = True) -> nn.Module:
    """The network as inference wants it: evaluation mode, batch norms folded, channels-last weights."""
    ready = fold_batch_norm(network)
    if channels_last:
        for tensor in (*ready.parameters(), *ready.buffers()):
            if tensor.ndim in MEMORY_FORMATS:
                tensor.data = tensor.data.contiguous(memory_format=MEMORY_FORMATS[tensor.ndim])
    return ready
