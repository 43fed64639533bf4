"""Corruptions of medical scans, each at five severities.

Through MONAI's transforms wherever it has one. Ghosting and lost slices are ours: MONAI has neither, and
TorchIO would be a large dependency for a few lines of Fourier transform. Amounts of intensity are shares of
the scan's robust range (1st to 99th percentile), lengths are mm: a severity means the same everywhere.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    AdjustContrast,
    GaussianSmooth,
    GibbsNoise,
    MapTransform,
    RandBiasField,
    RandGaussianNoise,
    RandRicianNoise,
    RandSimulateLowResolution,
)
from numpy.typing import NDArray
from torch import Tensor

from medssl.data.corruptions.base import Corruption, by_name, case_generator, find_corruption

PERCENTILES = (1.0, 99.0)


def _state(rng: np.random.Generator) -> np.random.RandomState:
    """MONAI's random transforms take numpy's older generator."""
    return np.random.RandomState(rng.integers(2**31))


def _noise(image: Tensor, amount: float, _: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    noise = RandGaussianNoise(prob=1.0, std=amount, sample_std=False)
    return torch.as_tensor(noise.set_random_state(state=_state(rng))(image))


def _rician(image: Tensor, amount: float, _: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    noise = RandRicianNoise(prob=1.0, std=amount, sample_std=False)
    return torch.as_tensor(noise.set_random_state(state=_state(rng))(image))


def _blur(image: Tensor, amount: float, spacing: NDArray[np.float64], _: np.random.Generator) -> Tensor:
    return torch.as_tensor(GaussianSmooth(sigma=(amount / spacing).tolist())(image))


def _bias_field(image: Tensor, amount: float, _: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    # Two-sided coefficients: a one-sided range would only brighten.
    field = RandBiasField(degree=3, coeff_range=(-amount, amount), prob=1.0)
    return torch.as_tensor(field.set_random_state(state=_state(rng))(image))


def _gamma(image: Tensor, amount: float, _: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    darker = rng.random() < 0.5
    return torch.as_tensor(AdjustContrast(gamma=amount if darker else 1 / amount)(image))


def _gibbs(image: Tensor, amount: float, _: NDArray[np.float64], __: np.random.Generator) -> Tensor:
    return torch.as_tensor(GibbsNoise(alpha=amount)(image))


def _ghosting(image: Tensor, amount: float, _: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    """Every n-th line of k-space along one axis is weakened: ghosts at n-th parts of the image."""
    axis = int(rng.integers(1, 3))
    period = int(rng.integers(3, 7))
    lines = torch.fft.fftshift(torch.fft.fft(image, dim=axis), dim=axis)
    weight = torch.ones(image.shape[axis])
    weight[int(rng.integers(period)) :: period] = 1 - amount
    weight[image.shape[axis] // 2] = 1  # the mean stays
    shape = [-1 if a == axis else 1 for a in range(image.ndim)]
    weakened = torch.fft.ifftshift(lines * weight.view(shape), dim=axis)
    ghosts: Tensor = torch.fft.ifft(weakened, dim=axis).real
    return ghosts


def _low_resolution(image: Tensor, amount: float, _: NDArray[np.float64], __: np.random.Generator) -> Tensor:
    # A range of one factor: nothing is left to chance.
    coarsen = RandSimulateLowResolution(prob=1.0, zoom_range=(1 / amount, 1 / amount), downsample_mode="area")
    return torch.as_tensor(coarsen(image))


def _lost_slices(image: Tensor, amount: float, _: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    """Slices across the third axis hold nothing but the darkest value."""
    count = max(1, round(amount * image.shape[3]))
    lost = image.clone()
    lost[..., rng.choice(image.shape[3], size=min(count, image.shape[3]), replace=False)] = image.min()
    return lost


VOLUME_CORRUPTIONS = by_name(
    Corruption(
        "noise", "Gaussian noise", (0.05, 0.10, 0.15, 0.22, 0.30), "deviation, share of the range", _noise
    ),
    Corruption(
        "rician", "Rician noise", (0.05, 0.10, 0.15, 0.22, 0.30), "deviation, share of the range", _rician
    ),
    Corruption("blur", "Gaussian blur", (0.6, 1.0, 1.5, 2.2, 3.0), "deviation in mm", _blur),
    Corruption(
        "bias_field",
        "polynomial bias field of degree 3",
        (0.06, 0.12, 0.18, 0.26, 0.36),
        "largest coefficient in the exponent",
        _bias_field,
    ),
    Corruption(
        "gamma",
        "darker or, for half of the cases, brighter mid-tones",
        (1.25, 1.6, 2.0, 2.6, 3.4),
        "exponent, or one over it",
        _gamma,
    ),
    Corruption(
        "gibbs", "Gibbs ringing", (0.50, 0.62, 0.72, 0.80, 0.86), "share of k-space that is cut", _gibbs
    ),
    Corruption(
        "ghosting",
        "ghosts of a periodic motion",
        (0.25, 0.45, 0.60, 0.80, 0.95),
        "weakening of every n-th line of k-space, n from 3 to 6",
        _ghosting,
    ),
    Corruption(
        "low_resolution",
        "coarser voxels",
        (1.5, 2.0, 2.75, 3.5, 4.5),
        "factor by which voxels grow",
        _low_resolution,
    ),
    Corruption(
        "lost_slices",
        "slices without signal",
        (0.04, 0.08, 0.14, 0.22, 0.32),
        "share of the slices",
        _lost_slices,
    ),
)
"""Scans, ``(C, X, Y, Z)`` on a scale where the robust range is 0 to 1; the geometry is the spacing in mm."""


def corrupt_volume(
    image: Tensor, corruption: str, severity: int, *, spacing: NDArray[np.float64], case: str, seed: int = 0
) -> Tensor:
    """A corrupted copy of a scan.

    What is drawn depends on seed, corruption and case alone: not on the order of cases, nor on the number of
    workers, nor on the severity, so that severities of one case differ in amount only.

    Args:
        image: intensities ``(C, X, Y, Z)``, on any scale.
        corruption: a key of :data:`VOLUME_CORRUPTIONS`.
        severity: 0 (a plain copy) to 5.
        spacing: voxel size in mm.
        case: name of the case.
        seed: of the study.

    Returns:
        float32 of the same shape, on the same scale.

    Raises:
        InputError: an unknown corruption, or a severity out of range.
    """
    chosen = find_corruption(VOLUME_CORRUPTIONS, corruption, severity)
    image = torch.as_tensor(image).float()
    if severity == 0:
        return image.clone()
    step = max(1, image.numel() // 1_000_000)
    low, high = np.percentile(image.flatten()[::step].numpy(), PERCENTILES)
    scale = max(float(high - low), 1e-6)
    # On a scale where the robust range is 0 to 1: Rician noise and exponents need a zero.
    scaled = (image - float(low)) / scale
    rng = case_generator(seed, corruption, case)
    corrupted: Tensor = chosen.apply(scaled, chosen.amounts[severity - 1], np.asarray(spacing), rng)
    return corrupted.as_subclass(Tensor).float() * scale + float(low)


class CorruptVolumed(MapTransform):  # type: ignore[misc]
    """Corrupt a loaded scan, before all other preprocessing; geometry and labels stay.

    Args:
        keys: key of the image, ``(C, X, Y, Z)`` with an affine; the item names its ``case``.
        corruption: see :func:`corrupt_volume`.
        severity: 0 to 5.
        seed: of the study.
    """

    def __init__(self, keys: KeysCollection, *, corruption: str, severity: int, seed: int = 0) -> None:
        super().__init__(keys)
        self.corruption, self.severity, self.seed = corruption, severity, seed

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Corrupt."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            spacing = np.linalg.norm(np.asarray(image.affine, np.float64)[:3, :3], axis=0)
            corrupted = corrupt_volume(
                image.as_tensor(),
                self.corruption,
                self.severity,
                spacing=spacing,
                case=str(item["case"]),
                seed=self.seed,
            )
            item[key] = MetaTensor(corrupted).copy_meta_from(image)
        return item
