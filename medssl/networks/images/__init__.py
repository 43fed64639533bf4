"""Networks of natural images, on backbones of Hugging Face transformers.

transformers is imported when the first of them is built.
"""

from medssl.networks.images.deeplab import DeepLabV3Plus
from medssl.networks.images.dpt import DPT
from medssl.networks.images.segformer import SegFormer

__all__ = ["DPT", "DeepLabV3Plus", "SegFormer"]
