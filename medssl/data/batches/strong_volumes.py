"""The strong view of a scan: intensities alone, from MONAI's transforms."""

from monai.config import KeysCollection
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)


def strong_volume_view(keys: KeysCollection = "image", *, strength: float = 1.0) -> Compose:
    """Random changes of intensities, for scans whose intensities have mean 0 and deviation 1.

    The published strong views are those of photographs: brightness, contrast, hue, saturation, grey, blur.
    What of it a scan has, with the published probabilities: with 0.8 each a factor in [0.5, 1.5] and a shift
    in [-0.5, 0.5] deviations; with 0.5 each a gamma in [0.67, 1.5], a blur of up to 1 voxel, and noise of up
    to 0.2 deviations.

    Args:
        keys: keys to change.
        strength: of all changes; 0 for none.

    Returns:
        A random transform of a dictionary; its shape and geometry stay.

    Raises:
        ValueError: a negative ``strength``.
    """
    if strength < 0:
        raise ValueError(f"strength must not be negative, got {strength}")
    if strength == 0:
        return Compose([])
    gamma = 1.5**strength
    blur = (0.05 * strength, strength)
    return Compose(
        [
            RandScaleIntensityd(keys, factors=0.5 * strength, prob=0.8),
            RandShiftIntensityd(keys, offsets=0.5 * strength, prob=0.8),
            RandAdjustContrastd(keys, gamma=(1 / gamma, gamma), prob=0.5, retain_stats=True),
            RandGaussianSmoothd(keys, sigma_x=blur, sigma_y=blur, sigma_z=blur, prob=0.5),
            RandGaussianNoised(keys, std=0.2 * strength, prob=0.5),
        ]
    )
