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
from medssl.networks.images import DPT, FPN, AllSparkNetwork, DeepLabV3Plus, SegFormer
from medssl.networks.vnet import DualDecoderVNet, VNet

__all__ = [
    "DPT",
    "FPN",
    "Adapted",
    "AllSparkNetwork",
    "DeepLabV3Plus",
    "Deployed",
    "DualDecoderVNet",
    "EncoderDecoder",
    "Fitting",
    "Network",
    "Output",
    "SegFormer",
    "VNet",
    "check_patch_size",
]
