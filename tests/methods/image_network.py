"""A small network as those for images are: normalised, coarse features, coarser context."""

import torch
from torch import nn
from torch.nn import functional as F

from medssl.methods import Batch
from medssl.networks import EncoderDecoder, Output


class ImageNetwork(EncoderDecoder):
    """Maps at strides 2 and 4, of 4 and 8 channels; classifies at stride 2."""

    def __init__(self, classes=3, dropout=0.0):
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Tanh())
        self.fuse = nn.Sequential(
            nn.Conv2d(12, 6, 3, 1, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(dropout)
        )
        self.classifier = nn.Conv2d(6, classes, 1)

    def encode(self, x):
        fine = self.fine(x)
        return fine, self.coarse(fine)

    def decode(self, maps, size):
        context = self.head(maps[1])
        up = F.interpolate(context, maps[0].shape[2:], mode="bilinear", align_corners=True)
        features = self.fuse(torch.cat([maps[0], up], 1))
        logits = F.interpolate(self.classifier(features), tuple(size), mode="bilinear", align_corners=True)
        return Output((logits,), (features,), (context,))


def median_confidence(network, images):
    """A threshold that believes half."""
    with torch.no_grad():
        return network(images).logits[0].softmax(1).amax(1).median().item()


def image_network(seed=0, **options):
    torch.manual_seed(seed)
    return ImageNetwork(**options)


def view_batch(method, *, labeled=2, unlabeled=2, shape=(17, 21), classes=3, padded=True, seed=0):
    """Images whose brightness tells the class, strong views that are darker or brighter."""
    rng = torch.Generator().manual_seed(seed)
    rows = unlabeled * (2 if method.partners else 1)
    labels = torch.randint(0, classes, (labeled + rows, 4, 4, *[2] * (len(shape) - 2)), generator=rng)
    labels = F.interpolate(labels.unsqueeze(1).float(), shape, mode="nearest").squeeze(1).long()
    images = labels.unsqueeze(1) + 0.2 * torch.randn(labels.shape[0], 1, *shape, generator=rng)
    weak = images[labeled:]
    views = {"weak": weak}
    for view in method.views[1:]:
        views[view] = weak * 1.1 + 0.1 * torch.randn(weak.shape, generator=rng)
    valid = None
    if padded:
        valid = torch.ones(rows, *shape, dtype=torch.bool)
        for row in range(rows):
            valid[row, shape[0] - 3 - row :] = False
        for view in views:
            views[view] = views[view] * valid.unsqueeze(1)
    known = labels[:labeled].clone()
    known[:, :2] = 255
    return Batch(images[:labeled], known, {name: views[name] for name in method.views}, valid)
