"""Rules of intensities: modality, normalisation, and the crop to what is not background."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from medssl.common.errors import unknown_name
from medssl.planning.fingerprint import Fingerprint

Modality = Literal["ct", "mr", "other"]

HOUNSFIELD = -200.0
"""A scan whose darkest voxel lies below this is in Hounsfield units: fat is at -100, air at -1,000."""

CROP_BELOW = 0.75
"""nnU-Net's: where the crop leaves less than three quarters of a scan, the background is no part of it."""

CT_PERCENTILES = (0.5, 99.5)
"""nnU-Net's window, of the intensities of labelled foreground."""

LOAD = "@load"


def modality(fingerprint: Fingerprint, asked: str | None) -> tuple[Modality, str, bool]:
    """What kind of scans these are.

    Source: nnU-Net asks its user; negative Hounsfield units tell here.

    Args:
        fingerprint: of the data set.
        asked: what the user says; None to look.

    Returns:
        The modality, the reason, and whether it is sure.

    Raises:
        InputError: an unknown modality.
    """
    if asked is not None:
        if asked not in get_args(Modality):
            raise unknown_name("modality", asked, get_args(Modality))
        return asked, "as asked", True  # type: ignore[return-value]
    negative = float(np.mean([case.minimum < HOUNSFIELD for case in fingerprint.cases]))
    if negative >= 0.9:
        return "ct", f"{negative:.0%} of the scans hold values below {HOUNSFIELD:g}", True
    if negative > 0:
        return (
            "other",
            f"{negative:.0%} of the scans hold values below {HOUNSFIELD:g}, the others do not",
            False,
        )
    return "mr", f"no scan holds values below {HOUNSFIELD:g}", True


def crops(fingerprint: Fingerprint) -> tuple[bool, str]:
    """Whether scans are cropped to what lies above their minimum, and why.

    Source: nnU-Net (Isensee et al. 2021) crops every scan to its non-zero voxels. Here only where a quarter
    of the volume goes, since a crop of a few slices moves patches for nothing.
    """
    share = fingerprint.box_share
    if share < CROP_BELOW:
        return True, f"the box of what lies above the minimum holds {share:.0%} of a scan"
    return (
        False,
        f"the box of what lies above the minimum holds {share:.0%} of a scan",
    )


def masks_background(fingerprint: Fingerprint) -> bool:
    """Whether mean and deviation are those of voxels above 0 alone.

    Source: nnU-Net normalises inside the non-zero voxels where its crop takes a quarter away; here where a
    quarter of the voxels is exactly 0 and none is negative, which is what a skull stripping leaves.
    """
    nonnegative = all(case.minimum >= 0 for case in fingerprint.cases)
    return nonnegative and fingerprint.zero_share >= 1 - CROP_BELOW


def ct_window(fingerprint: Fingerprint) -> tuple[float, float, float, float]:
    """Lower and upper bound, mean and deviation of labelled foreground, over all labelled cases.

    Source: nnU-Net (Isensee et al. 2021): percentiles 0.5 and 99.5, mean and deviation of foreground voxels,
    each case with equally many. One channel.
    """
    samples = [case.foreground[0] for case in fingerprint.labeled if case.foreground is not None]
    values = np.concatenate([sample for sample in samples if len(sample)]).astype(np.float64)
    low, high = np.percentile(values, CT_PERCENTILES)
    clipped = np.clip(values, low, high)
    return float(low), float(high), float(clipped.mean()), float(max(clipped.std(), 1e-3))


def normalization(fingerprint: Fingerprint, kind: Modality) -> tuple[Mapping[str, Any], str]:
    """The transform that normalises a scan, and why.

    Source: nnU-Net: z-score of each scan and channel; of CT a window, mean and deviation of the data set.
    """
    if kind == "ct" and fingerprint.channels == 1:
        low, high, mean, deviation = (round(value, 1) for value in ct_window(fingerprint))
        reason = (
            f"CT: window of the 0.5 and 99.5 percentiles of labelled foreground ({low:g} to {high:g}), then "
            f"its mean ({mean:g}) and deviation ({deviation:g})"
        )
        return {
            "_target_": "ScaleIntensityRanged",
            "keys": "image",
            "a_min": low,
            "a_max": high,
            "b_min": round((low - mean) / deviation, 4),
            "b_max": round((high - mean) / deviation, 4),
            "clip": True,
        }, reason
    if masks_background(fingerprint):
        reason = f"z-score of every scan's voxels above 0 ({fingerprint.zero_share:.0%} are exactly 0)"
        return {"_target_": "medssl.data.NormalizeByForegroundd", "keys": "image"}, reason
    channels = " and channel" if fingerprint.channels > 1 else ""
    reason = f"z-score of every scan{channels} by itself, whatever its scale"
    transform: dict[str, Any] = {"_target_": "NormalizeIntensityd", "keys": "image"}
    return ({**transform, "channel_wise": True} if fingerprint.channels > 1 else transform), reason


def preprocessing(
    normalize: Mapping[str, Any], *, cropped: bool, resampled: bool
) -> Sequence[str | Mapping[str, Any]]:
    """The list of transforms from file to network, in nnU-Net's order: crop, then z-score, then resampling.

    A window of CT, which looks at no other voxel, stands there as well.
    """
    crop = {
        "_target_": "medssl.data.CropAboveMinimumd",
        "keys": ["image", "label"],
        "source_key": "image",
        "allow_missing_keys": True,
    }
    return [LOAD, *([crop] if cropped else []), normalize, *(["@resample"] if resampled else [])]
