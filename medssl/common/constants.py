"""Numbers that every room agrees on."""

IGNORE = 255
"""Class id of voxels that nobody labelled: losses and metrics leave them out."""

PIXEL = "pixel"
"""Unit in the scores of images, by which they are told from those of scans."""
