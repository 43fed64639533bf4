"""The smallest network with two decoders, in 2D or 3D."""

import torch
from torch import nn

from medssl.networks import Network, Output


class TwoDecoders(Network):
    """One hidden layer a decoder; without normalisation, so that images do not see each other."""

    def __init__(self, axes=3, classes=2, width=6, dropout=0.0):
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.hidden = nn.ModuleList(convolution(1, width, 3, padding=1) for _ in range(2))
        self.classifiers = nn.ModuleList(convolution(width, classes, 1) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def decode(self, x, number):
        features = torch.relu(self.hidden[number](x))
        return self.classifiers[number](self.dropout(features)), features

    def forward(self, x):
        logits, features = zip(*(self.decode(x, number) for number in range(2)), strict=True)
        return Output(logits, features)

    def deployed(self, x):
        return self.decode(x, 0)[0]
