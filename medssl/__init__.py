"""Semi-supervised segmentation of 3D medical scans that says how far it can be believed."""

__version__ = "0.1.0"
