"""The smallest network with two decoders, in 2D or 3D."""

import torch
from torch import nn

from medssl.networks import EncoderDecoder, Output


class TwoDecoders(EncoderDecoder):
    """One hidden layer a decoder; without normalisation, so that images do not see each other."""

    def __init__(self, axes=3, classes=2, width=6, dropout=0.0):
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.hidden = nn.ModuleList(convolution(1, width, 3, padding=1) for _ in range(2))
        self.classifiers = nn.ModuleList(convolution(width, classes, 1) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def encode(self, x):
        """The hidden layer of either decoder."""
        return tuple(torch.relu(hidden(x)) for hidden in self.hidden)

    def decode(self, maps, size):
        logits = (self.classifiers[number](self.dropout(features)) for number, features in enumerate(maps))
        return Output(tuple(logits), tuple(maps))

    def deployed(self, x):
        return self.classifiers[0](self.dropout(torch.relu(self.hidden[0](x))))
