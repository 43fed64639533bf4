"""Pictures, their items, and small models that predict them."""

import numpy as np
import torch
from monai.networks.nets import UNet
from PIL import Image
from scipy import ndimage
from torch import nn

from medssl.data import LoadCased
from medssl.networks import Adapted

UNET = {
    "spatial_dims": 2, "in_channels": 3, "out_channels": 4, "channels": [4, 8, 16, 16], "strides": [2, 2, 2],
}  # fmt: skip
IMAGE_META = {
    "method": "Supervised",
    "network": {
        "_target_": "medssl.networks.Adapted",
        "patch_multiple": 8,
        "network": {"_target_": "monai.networks.nets.UNet", **UNET},
    },
    "preprocessing": [
        {"name": "LoadCased", "arguments": {"keys": ["image", "label"], "in_channels": 3, "num_classes": 4}},
        {"name": "ScaleIntensityRanged",
         "arguments": {"keys": "image", "a_min": 0.0, "a_max": 255.0, "b_min": 0.0, "b_max": 1.0}},
        {"name": "Resized", "arguments": {"keys": ["image", "label"], "spatial_size": [24, 32],
         "mode": ["bilinear", "nearest"], "allow_missing_keys": True}},
    ],
    "num_classes": 4,
    "patch_size": [24, 32],
    "stride": None,
    "orientation": None,
    "spacing": None,
    "amp": "off",
    "channels_last": True,
    "class_names": ["sky", "road", "car", "pedestrian"],
}  # fmt: skip


def picture(size, *, seed=0, channels=3):
    """Smooth colours, ``(H, W, C)`` uint8."""
    noise = np.random.default_rng(seed).normal(size=(*size, channels))
    smooth = ndimage.gaussian_filter(noise, (2, 2, 0))
    return np.clip(128 + 400 * smooth, 0, 255).astype(np.uint8)


def save_picture(path, *, size=(36, 48), seed=0, mode="RGB"):
    pixels = picture(size, seed=seed, channels=3 if mode == "RGB" else 1)
    Image.fromarray(pixels if mode == "RGB" else pixels[..., 0]).save(path)
    return path


def save_label(path, *, size=(36, 48), seed=0, classes=4):
    ids = picture(size, seed=seed, channels=1)[..., 0].astype(int) * classes // 256
    ids[0] = 255
    Image.fromarray(ids.astype(np.uint8)).save(path)
    return path


def item(folder, size):
    """A picture and its label as loaded, in [0, 1]."""
    files = {"image": save_picture(folder / "a.png", size=size)}
    files["label"] = save_label(folder / "a-label.png", size=size)
    loaded = LoadCased(["image", "label"])({key: str(path) for key, path in files.items()})
    loaded["image"] = loaded["image"] / 255
    return loaded


def convolution(*, kernel=3, classes=4):
    torch.manual_seed(0)
    network = nn.Conv2d(3, classes, kernel, padding=kernel // 2).eval().requires_grad_(False)
    network.weight *= 5
    return network


def save_model(path, meta=IMAGE_META, *, network=None):
    """A checkpoint of a U-Net with random weights, as a training leaves one."""
    torch.manual_seed(0)
    state = (network or Adapted(UNet(**UNET), patch_multiple=8)).state_dict()
    empty = {key: {} for key in ("method", "optimizer", "scheduler", "scaler", "rng", "best")}
    progress = {"step": 2, "epoch": 1, "steps_per_epoch": 2}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**empty, "network": state, "deployed": state, "progress": progress, "meta": meta}, path)
    return path
