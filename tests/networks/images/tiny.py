"""Every network of images, as small as it goes."""

from medssl.networks.images.deeplab import DeepLabV3Plus
from medssl.networks.images.dpt import DPT
from medssl.networks.images.fpn import FPN
from medssl.networks.images.segformer import SegFormer

RESNET = {
    "layer_type": "bottleneck",
    "depths": [1, 2, 2, 2],
    "hidden_sizes": [8, 16, 24, 32],
    "embedding_size": 8,
}
DINOV2 = {
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "patch_size": 4,
    "image_size": 16,
}
MIT = {
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 8,
}
DESCRIPTIONS = {
    "DeepLabV3Plus": {"backbone": RESNET, "channels": 8, "low_level_channels": 4},
    "DPT": {"size": DINOV2},
    "SegFormer": {"size": MIT},
    "FPN": {"widths": [4, 4, 6, 8], "channels": 6},
}
CLASSES = {kind.__name__: kind for kind in (DeepLabV3Plus, DPT, SegFormer, FPN)}


def tiny(name, num_classes=3, **arguments):
    return CLASSES[name](num_classes, **DESCRIPTIONS[name], **arguments)
