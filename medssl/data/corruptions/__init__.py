"""Corruptions of images at five severities, for the evaluation of trained models."""

from medssl.data.corruptions.volumes import VOLUME_CORRUPTIONS, CorruptVolumed, corrupt_volume

__all__ = ["VOLUME_CORRUPTIONS", "CorruptVolumed", "corrupt_volume"]
