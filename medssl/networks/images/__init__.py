"""Networks of natural images: on backbones of Hugging Face transformers, and a small one without.

transformers is imported when the first network with such a backbone is built.
"""

from medssl.networks.images.allspark import AllSparkNetwork
from medssl.networks.images.deeplab import DeepLabV3Plus
from medssl.networks.images.dpt import DPT
from medssl.networks.images.fpn import FPN
from medssl.networks.images.segformer import SegFormer

__all__ = ["DPT", "FPN", "AllSparkNetwork", "DeepLabV3Plus", "SegFormer"]
