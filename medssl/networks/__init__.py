"""Segmentation networks, and what a network owes."""

from medssl.networks.base import (
    Adapted,
    Deployed,
    EncoderDecoder,
    Fitting,
    Network,
    Output,
    check_patch_size,
)
from medssl.networks.vnet import DualDecoderVNet, VNet

__all__ = [
    "Adapted",
    "Deployed",
    "DualDecoderVNet",
    "EncoderDecoder",
    "Fitting",
    "Network",
    "Output",
    "VNet",
    "check_patch_size",
]
