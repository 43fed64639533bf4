"""Somebody else's models as annotators: what they say of an image, as probabilities of the user's classes.

Models that are asked in words (:mod:`~medssl.annotators.text_prompted`), MONAI bundles
(:mod:`~medssl.annotators.monai_bundle`) and folders of maps made elsewhere; a training reads the maps alone.
Neither MONAI's bundles nor transformers are imported until one of their annotators is asked for by its
module.
"""

from medssl.annotators.annotate import AnnotationResult, annotate_images
from medssl.annotators.base import Annotator
from medssl.annotators.folder import ImageFiles, MapFolder, map_name
from medssl.annotators.maps import as_distribution, read_map, write_map
from medssl.annotators.prompts import PromptedClass, parse_classes

__all__ = [
    "AnnotationResult",
    "Annotator",
    "ImageFiles",
    "MapFolder",
    "PromptedClass",
    "annotate_images",
    "as_distribution",
    "map_name",
    "parse_classes",
    "read_map",
    "write_map",
]
