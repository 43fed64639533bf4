"""Segmentation networks."""

from medssl.networks.vnet import DualDecoderOutput, DualDecoderVNet, VNet, check_patch_size

__all__ = ["DualDecoderOutput", "DualDecoderVNet", "VNet", "check_patch_size"]
