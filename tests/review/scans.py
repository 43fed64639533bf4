"""Scans in all kinds of geometry, and a network whose right answer is known: the scan thresholded."""

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import nn

from medssl.inference.predictor import Prediction
from medssl.review.voxel_maps import VOXEL_MAPS

THRESHOLD = 0.5

_VOXEL = np.ones((1, 1, 1), np.float32)
_PLAIN = Prediction(_VOXEL.astype(np.uint8), _VOXEL, _VOXEL, None, None, ())
MAPS = tuple(kind.suffix for kind in VOXEL_MAPS if kind.values(_PLAIN) is not None)
"""What is written unless more is asked for."""


class Threshold(nn.Module):
    """Foreground where the intensity is above the threshold."""

    def forward(self, x):
        return torch.cat([THRESHOLD - x, x - THRESHOLD], 1) * 40


def body(shape, spacing, seed=0):
    """A smooth blob off the centre on a background of zeros; values in [0, 1]."""
    rng = np.random.default_rng(seed)
    centre = np.array(shape) * spacing * (0.42, 0.55, 0.5)
    grid = np.stack(
        np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    )
    distance = np.linalg.norm(
        (grid - centre.reshape(3, 1, 1, 1)) / np.array([1, 0.8, 1.2]).reshape(3, 1, 1, 1), axis=0
    )
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 2) * 0.3
    return np.where(distance < 14, np.clip(1 - distance / 16 + noise, 0.06, 1), 0).astype(np.float32)


def affine(spacing, *, flips=(1, 1, 1), degrees=(0, 0, 0), axes=(0, 1, 2)):
    matrix = np.eye(4)
    rotation = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, :3] = rotation @ np.diag(flips)[:, list(axes)] @ np.diag(spacing)
    matrix[:3, 3] = [31.3, -57.9, 12.25]
    return matrix


SPACING = (0.8, 1.1, 1.6)
AFFINES = {
    "upright": affine(SPACING),
    "flipped": affine(SPACING, flips=(-1, -1, 1)),
    "permuted": affine(SPACING, flips=(1, -1, -1), axes=(2, 0, 1)),
    "oblique": affine(SPACING, flips=(-1, 1, -1), degrees=(12, -21, 34)),
}


def save_scan(path, values, matrix, *, sform_code=1, qform_code=1, units=("mm", "sec"), qform=None):
    image = nib.Nifti1Image(values, matrix)
    image.set_sform(matrix, sform_code)
    image.set_qform(matrix if qform is None else qform, qform_code)
    image.header.set_xyzt_units(*units)
    nib.save(image, path)
    return path


def assert_same_geometry(written, scan):
    """By nibabel, field by field, and by SimpleITK, which reads the header for itself."""
    file, reference = nib.load(written), nib.load(scan)
    assert file.shape == reference.shape
    np.testing.assert_array_equal(file.affine, reference.affine)
    np.testing.assert_array_equal(file.get_qform(), reference.get_qform())
    for field in ("sform_code", "qform_code", "xyzt_units"):
        assert file.header[field] == reference.header[field]
    file, reference = sitk.ReadImage(str(written)), sitk.ReadImage(str(scan))
    assert file.GetSize() == reference.GetSize()
    assert file.GetSpacing() == reference.GetSpacing()
    assert file.GetOrigin() == reference.GetOrigin()
    assert file.GetDirection() == reference.GetDirection()
