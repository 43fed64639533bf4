"""Segmentation networks."""

from medssl.networks.vnet import DualDecoderVNet, Output, VNet, check_patch_size

__all__ = ["DualDecoderVNet", "Output", "VNet", "check_patch_size"]
