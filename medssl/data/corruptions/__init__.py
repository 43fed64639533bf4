"""Corruptions of images at five severities, for the evaluation of trained models."""

from medssl.data.corruptions.base import Corruption
from medssl.data.corruptions.images import (
    NATURAL_CORRUPTIONS,
    CorruptImaged,
    corrupt_natural_image,
    corruption_title,
    planar_depth,
)
from medssl.data.corruptions.volumes import VOLUME_CORRUPTIONS, CorruptVolumed, corrupt_volume

__all__ = [
    "NATURAL_CORRUPTIONS",
    "VOLUME_CORRUPTIONS",
    "CorruptImaged",
    "CorruptVolumed",
    "Corruption",
    "corrupt_natural_image",
    "corrupt_volume",
    "corruption_title",
    "planar_depth",
]
