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
from medssl.networks.downsampling import Downsampling, anisotropic_strides, product_of_strides
from medssl.networks.images import DPT, FPN, AllSparkNetwork, DeepLabV3Plus, SegFormer
from medssl.networks.vnet import DualDecoderVNet, VNet

__all__ = [
    "DPT",
    "FPN",
    "Adapted",
    "AllSparkNetwork",
    "DeepLabV3Plus",
    "Deployed",
    "Downsampling",
    "DualDecoderVNet",
    "EncoderDecoder",
    "Fitting",
    "Network",
    "Output",
    "SegFormer",
    "VNet",
    "anisotropic_strides",
    "check_patch_size",
    "product_of_strides",
]
