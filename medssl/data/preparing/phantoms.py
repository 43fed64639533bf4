"""Anatomical phantoms: left-atrium-like bodies in synthetic late-enhancement MRI.

For rehearsals and tests where no scan is at hand. A phantom is a blood-filled chamber with an appendage and
pulmonary veins, whose proximal part belongs to the label, among look-alikes of nearly the same intensity: a
neighbouring chamber, an aorta and the distal veins. Shape, pose, contrast, bias field and noise vary from
case to case, so that a few labelled cases do not show all of it.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medssl.common.errors import InputError

Floats = NDArray[np.float64]

SIZE = (64, 64, 40)
SPACING = (1.25, 1.25, 1.25)
MIN_EXTENT_MM = 40.0
CLASSES = {0: "background", 1: "left atrium"}


@dataclass(frozen=True)
class Phantom:
    """One case.

    Attributes:
        image: int16 ``(X, Y, Z)``, arbitrary units of about 0 to 1,500.
        label: uint8 ``(X, Y, Z)``, 1 in the left atrium.
        affine: ``(4, 4)`` voxel to RAS in mm; oblique, and anisotropic by a few percent.
    """

    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    affine: Floats


class _Canvas:
    """A grid in mm around its centre, and the bodies that can be drawn on it as signed distances in mm."""

    def __init__(self, size: Sequence[int], spacing: Floats, rng: np.random.Generator) -> None:
        self.size, self.spacing, self.rng = tuple(size), spacing, rng
        axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, spacing, strict=True)]
        self.points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)

    def field(self, scale_mm: float) -> Floats:
        """A smooth random field of mean 0 and deviation 1 with structures of about ``scale_mm``."""
        noise = ndimage.gaussian_filter(
            self.rng.standard_normal(self.size), scale_mm / self.spacing, mode="wrap"
        )
        return np.asarray((noise - noise.mean()) / noise.std())

    def ellipsoid(self, centre: Floats, radii: Floats, turn: Rotation) -> Floats:
        """Distance to an ellipsoid, negative inside; exact on its surface only."""
        local = (self.points - centre) @ turn.as_matrix() / radii
        return np.asarray((np.linalg.norm(local, axis=-1) - 1) * radii.mean())

    def tube(self, path: Floats, radius: float) -> Floats:
        """Distance to a tube around a polyline ``(N, 3)``."""
        nearest = np.full(self.size, np.inf)
        for a, b in pairwise(path):
            along = b - a
            share = np.clip((self.points - a) @ along / (along @ along), 0, 1)
            gap = np.linalg.norm(self.points - a - share[..., None] * along, axis=-1)
            nearest = np.minimum(nearest, gap)
        return nearest - radius

    def inside(self, distance: Floats) -> Floats:
        """Share of a voxel that lies inside, in [0, 1]: partial volume over about one voxel."""
        return np.asarray(np.clip(0.5 - distance / self.spacing.mean(), 0, 1))


def make_phantom(
    case: int, *, seed: int, size: Sequence[int] = SIZE, spacing: Sequence[float] = SPACING
) -> Phantom:
    """Phantom number ``case`` of a seed; depends on nothing else.

    Args:
        case: number of the case, from 0.
        seed: of the whole set.
        size: voxels along each axis.
        spacing: nominal mm per voxel along each axis; every case departs from it by up to 8%.

    Raises:
        InputError: the volume is too small for the anatomy.
    """
    nominal = np.asarray(spacing, np.float64)
    extent = np.asarray(size) * nominal
    if len(size) != 3 or len(nominal) != 3 or not (nominal > 0).all() or extent.min() < MIN_EXTENT_MM:
        raise InputError(
            f"phantom of {'x'.join(map(str, size))} voxels of {'x'.join(map(str, spacing))} mm",
            f"needs at least {MIN_EXTENT_MM:.0f} mm along each of three axes",
            "ask for more or larger voxels",
        )
    rng = np.random.default_rng((seed, case))
    canvas = _Canvas(size, nominal * rng.uniform(0.92, 1.08, 3), rng)
    # The anatomy fills a volume of 80 x 80 x 50 mm; smaller ones get a smaller heart.
    scale = float(min(1.0, extent[:2].min() / 80, extent[2] / 50))
    body, label_distance = _draw(canvas, rng, scale)
    image = _acquire(canvas, body, rng)
    label = (label_distance < 0).astype(np.uint8)
    components, count = ndimage.label(label)
    if count > 1:
        label = (components == np.bincount(components.ravel())[1:].argmax() + 1).astype(np.uint8)
    turn = Rotation.from_euler("xyz", rng.uniform(-12, 12, 3), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(canvas.spacing)
    affine[:3, 3] = rng.uniform(-40, 40, 3) - affine[:3, :3] @ (np.asarray(size) - 1) / 2
    return Phantom(image, label, affine)


def _draw(canvas: _Canvas, rng: np.random.Generator, scale: float) -> tuple[Floats, Floats]:
    """Intensities in [0, 1] before acquisition, and the signed distance of the label."""
    centre = rng.uniform([-9, -9, -4], [9, 9, 4]) * scale
    radii = rng.uniform([13, 11, 10], [21, 18, 15]) * scale
    turn = Rotation.from_euler("zxy", rng.uniform([-50, -20, -20], [50, 20, 20]), degrees=True)
    wobble = rng.uniform(0.8, 2.0) * scale * canvas.field(7 * scale)
    chamber = canvas.ellipsoid(centre, radii, turn) + wobble

    side = 1 if rng.random() < 0.5 else -1
    ear = centre + turn.apply([side * 0.85, 0.7, rng.uniform(-0.3, 0.5)] * radii)
    appendage = canvas.ellipsoid(ear, rng.uniform([6, 4, 4], [10, 6, 7]) * scale, Rotation.random(rng=rng))

    distal = np.full(canvas.size, np.inf)
    for _ in range(int(rng.integers(3, 6))):
        out = np.array([rng.choice([-1.0, 1.0]), rng.uniform(-1.0, 0.2), rng.uniform(-0.8, 0.8)])
        out /= np.linalg.norm(out)
        start = centre + 0.6 * turn.apply(out * radii)
        bend = np.array([0, -1, 0]) * rng.uniform(0, 14) + rng.uniform(-5, 5, 3)
        steps = np.linspace(0, 1, 5)[:, None]
        path = start + steps * out * 45 * scale + steps**2 * bend * scale
        distal = np.minimum(distal, canvas.tube(path, rng.uniform(2.6, 4.6) * scale))
    # A vein belongs to the label as far as it stays near the chamber.
    proximal = np.maximum(distal, canvas.ellipsoid(centre, radii * rng.uniform(1.25, 1.4), turn))
    label = np.minimum(np.minimum(chamber, appendage), proximal)

    away = turn.apply([-side * rng.uniform(0.9, 1.2), rng.uniform(0.3, 1.1), rng.uniform(-0.5, 0.5)])
    neighbour_radii = rng.uniform([12, 11, 10], [20, 18, 18]) * scale
    gap = radii.mean() + neighbour_radii.mean() + rng.uniform(1.0, 4.0) * scale
    neighbour = canvas.ellipsoid(
        centre + away / np.linalg.norm(away) * gap, neighbour_radii, Rotation.random(rng=rng)
    ) + 1.5 * scale * canvas.field(7 * scale)
    foot = centre + np.array([rng.uniform(-8, 8), 0, -60]) * scale
    foot[1] += (radii[1] + rng.uniform(9, 15) * scale) * rng.choice([-1.0, 1.0])
    head = foot + np.array([rng.uniform(-10, 10), 0, 120])
    aorta = canvas.tube(np.stack([foot, head]), rng.uniform(6, 10) * scale)

    blood = rng.uniform(0.5, 0.85)
    others = blood + rng.uniform(-0.16, 0.16, 3)
    tissue = rng.uniform(0.22, 0.4)
    body = tissue + 0.05 * canvas.field(3) + 0.06 * canvas.field(10)
    lung = canvas.field(16) + (canvas.points[..., 0] * side + canvas.points[..., 1]) / (30 * scale) - 1.2
    body = np.where(lung > 0, rng.uniform(0.04, 0.12) + 0.02 * canvas.field(2), body)
    wall = np.minimum(label, neighbour) - rng.uniform(1.5, 3.0) * scale
    layers = (
        (wall, tissue + rng.uniform(-0.08, 0.12)),
        (aorta, others[0]),
        (neighbour, others[1]),
        (distal, blood + 0.3 * (others[2] - blood)),
        (label, blood),
    )
    for distance, level in layers:
        share = canvas.inside(distance)
        texture = 0.04 * canvas.field(2.5)
        body = body * (1 - share) + (level + texture) * share
    return np.clip(body, 0, None), label


def _acquire(canvas: _Canvas, body: Floats, rng: np.random.Generator) -> NDArray[np.int16]:
    """Contrast, coil sensitivity and Rician noise."""
    bias = np.exp(rng.uniform(0.1, 0.3) * canvas.field(25))
    signal = body ** rng.uniform(0.75, 1.35) * bias
    sigma = rng.uniform(0.02, 0.07)
    noise = sigma * rng.standard_normal((2, *canvas.size))
    magnitude = np.hypot(signal + noise[0], noise[1])
    return np.asarray((magnitude * rng.uniform(500, 1200)).round().clip(0, 32767), np.int16)


def nifti_bytes(volume: NDArray[Any], affine: Floats) -> bytes:
    """A volume as ``.nii.gz``, the same bytes for the same volume (no time stamp)."""
    image = nib.Nifti1Image(volume, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), 6, mtime=0)
