"""Opening one case: all that is wrong with its files, and what a report needs to know of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray
from torch import Tensor

from medssl.common.errors import InputError
from medssl.data.checks.findings import CaseError, Finding
from medssl.data.checks.fingerprints import coarse_look, content_hash
from medssl.data.checks.lists import Entry
from medssl.data.checks.volumes import (
    class_faults,
    class_warnings,
    geometry_warnings,
    grid_faults,
    image_faults,
    label_faults,
    size_warnings,
)
from medssl.data.reading.formats import format_of
from medssl.data.reading.loading import LoadCased

SAMPLE = 500_000
"""Voxels, evenly taken, from which quantiles and histogram are computed."""

BINS = 64
LARGEST_SIDE = 160
"""Largest side of a thumbnail, in pixels."""

Examine = Callable[[MetaTensor, MetaTensor | None], Any]
"""What a caller measures of a sound image ``(C, *S)`` and its class ids ``(1, *S)``, while they are open."""


@dataclass(frozen=True)
class Intensities:
    """Intensities of a scan, all channels together.

    Attributes:
        low: minimum.
        high: maximum.
        mean: mean.
        std: standard deviation, of an even sample.
        quantiles: at 1%, 50% and 99%, of the sample.
        counts: of the sample in 64 equal bins from ``low`` to ``high``.
    """

    low: float
    high: float
    mean: float
    std: float
    quantiles: tuple[float, float, float]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Thumbnail:
    """One axial slice of a scan, seen from below: the patient's right is on the left, anterior on top.

    Of a 2D image all of it, as stored.

    Attributes:
        image: ``(rows, columns)`` in [0, 1], the range from the 1% to the 99% quantile.
        label: class ids of the same pixels, None where there is no label.
        aspect: height of a pixel over its width, in mm.
    """

    image: NDArray[np.float32]
    label: NDArray[np.int32] | None
    aspect: float


@dataclass(frozen=True)
class Scan:
    """What is known of a scan, or of a 2D image, that could be read.

    Attributes:
        file: its (first) file.
        size: voxels along each axis, of which a 2D image has two.
        channels: number of channels.
        spacing: mm along each axis; empty for 2D images, whose files do not say it.
        intensities: None where no voxel is finite.
        content: :func:`medssl.data.checks.fingerprints.content_hash`.
        look: :func:`medssl.data.checks.fingerprints.coarse_look`, None where the image is faulty, or in 2D.
        thumbnail: for the contact sheet, None where the image is faulty.
        class_sizes: of every class id in the label its volume in ml, or in 2D its pixels; None without a
            readable label.
    """

    file: str
    size: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...]
    intensities: Intensities | None
    content: str
    look: Tensor | None
    thumbnail: Thumbnail | None
    class_sizes: dict[int, float] | None


@dataclass(frozen=True)
class CheckedCase:
    """One case after it was opened.

    Attributes:
        case: its name.
        split: the list it stands in.
        findings: all of them.
        scan: None where the image cannot be read.
        measures: what ``examine`` gave; None without one, or where image or label is faulty.
    """

    case: str
    split: str
    findings: tuple[Finding, ...]
    scan: Scan | None
    measures: Any = None


def check_case(
    entry: Entry, *, loader: LoadCased, roi: Sequence[int] | None, examine: Examine | None = None
) -> CheckedCase:
    """Open a case and look at everything in it, whatever is found first.

    Args:
        entry: the case. The label of an unlabelled one is not opened, even if it names one.
        loader: reads the files; its ``num_classes`` bounds the class ids.
        roi: the patch that the volume should not be smaller than.
        examine: measures more of a case without an error, so that nobody opens it twice.
    """
    findings: list[Finding] = []
    image = _read(loader, entry.files("image"), "image", findings)
    label, ids = None, None
    if entry.split != "unlabeled" and entry.files("label"):
        label = _read(loader, entry.files("label"), "label", findings)
    sound = False
    if image is not None:
        faults = list(image_faults(image, channels=loader.in_channels, max_intensity=loader.max_intensity))
        findings += [*faults, *geometry_warnings(image), *size_warnings(image, roi)]
        sound = not any(finding.code in ("not-finite", "constant") for finding in faults)
    if label is not None:
        faults = list(label_faults(label))
        findings += faults
        if not faults:
            ids = loader.class_ids(label)
            mapped = bool(loader.label_map)
            findings += class_faults(ids, num_classes=loader.num_classes, mapped=mapped)
            findings += class_warnings(ids, num_classes=loader.num_classes)
        if image is not None:
            findings += grid_faults(image, label)
    scan = None if image is None else _scan(image, ids, sound)
    named = (replace(finding, case=entry.case, split=entry.split) for finding in findings)
    is_faulty = any(finding.severity == "error" for finding in findings)
    measures = None if examine is None or image is None or is_faulty else examine(image, ids)
    return CheckedCase(entry.case, entry.split, tuple(named), scan, measures)


def _read(
    loader: LoadCased, files: Sequence[Path], dataset: str, findings: list[Finding]
) -> MetaTensor | None:
    try:
        volume = loader.volume(files, dataset)
    except CaseError as error:
        findings.append(error.finding())
        return None
    except InputError as error:
        findings.append(Finding("unreadable", error.where, error.fault, error.remedy))
        return None
    for file in files:
        file_format = format_of(file)
        if file_format is not None and file_format.header_findings is not None:
            findings += file_format.header_findings(file)
    return volume


def _scan(image: MetaTensor, ids: MetaTensor | None, sound: bool) -> Scan:
    values = image.as_tensor()
    spacing = image.affine[:3, :3].norm(dim=0).tolist()
    intensities = _intensities(values)
    same_grid = ids is not None and ids.shape[1:] == image.shape[1:]
    is_volume = image.ndim == 4
    shown_ids = ids if same_grid else None
    return Scan(
        file=str(image.meta["filename_or_obj"]),
        size=tuple(image.shape[1:]),
        channels=len(image),
        spacing=tuple(spacing) if is_volume else (),
        intensities=intensities,
        content=content_hash(values),
        look=coarse_look(values) if sound and is_volume else None,
        thumbnail=_thumbnail(image, shown_ids, intensities) if sound and intensities else None,
        class_sizes=None if ids is None else class_sizes(ids),
    )


def _intensities(values: Tensor) -> Intensities | None:
    flat = values.flatten()
    sample = flat[:: max(len(flat) // SAMPLE, 1)]
    if not torch.isfinite(flat.sum()):
        flat, sample = flat[torch.isfinite(flat)], sample[torch.isfinite(sample)]
    if not len(sample):
        return None
    low, high = (float(value) for value in flat.aminmax())
    quantiles = np.quantile(sample.numpy(), (0.01, 0.5, 0.99))
    counts = torch.histc(sample.double(), BINS, low, high) if high > low else torch.zeros(BINS)
    return Intensities(
        low,
        high,
        float(flat.mean(dtype=torch.float64)),
        float(sample.double().std(correction=0)),
        (float(quantiles[0]), float(quantiles[1]), float(quantiles[2])),
        tuple(int(count) for count in counts),
    )


def class_sizes(ids: MetaTensor) -> dict[int, float]:
    """Size of every class id in a label map: volume in ml of ``(1, X, Y, Z)``, pixels of ``(1, H, W)``."""
    unit = abs(float(torch.linalg.det(ids.affine[:3, :3]))) / 1000 if ids.ndim == 4 else 1.0
    values = ids.as_tensor().flatten()
    if values.dtype == torch.uint8:  # much faster than sorting all voxels
        counts = torch.bincount(values)
        return {int(k): int(counts[k]) * unit for k in counts.nonzero().flatten()}
    present, counts = torch.unique(values, return_counts=True)
    return {int(k): int(count) * unit for k, count in zip(present, counts, strict=True)}


def _thumbnail(image: MetaTensor, ids: MetaTensor | None, intensities: Intensities) -> Thumbnail:
    if image.ndim == 4:
        pixels, label, aspect = _axial_slice(image, ids)
    else:
        step = max(-(-max(image.shape[1:]) // LARGEST_SIDE), 1)
        pixels = image.as_tensor().mean(0).numpy()[::step, ::step]
        label = None if ids is None else ids[0].as_tensor().numpy()[::step, ::step]
        aspect = 1.0
    low, _, high = intensities.quantiles
    shown = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1).astype(np.float32)
    return Thumbnail(shown, None if label is None else label.astype(np.int32), aspect)


def _axial_slice(
    image: MetaTensor, ids: MetaTensor | None
) -> tuple[NDArray[Any], NDArray[Any] | None, float]:
    """Intensities, class ids and aspect of the slice with most foreground, or of the middle one."""
    orientation = io_orientation(image.affine.numpy())
    axis = int(np.flatnonzero(orientation[:, 0] == 2)[0])
    foreground = None if ids is None else ids[0].as_tensor() > 0
    number = image.shape[axis + 1] // 2
    if foreground is not None and foreground.any():
        others = [other for other in range(3) if other != axis]
        number = int(foreground.sum(dim=others).argmax())

    def slice_of(volume: Tensor) -> NDArray[Any]:
        thick = volume[0].narrow(axis, number, 1).numpy()
        flat: NDArray[Any] = apply_orientation(thick, orientation)[:, :, 0]
        step = max(-(-max(flat.shape) // LARGEST_SIDE), 1)
        return flat[::-step, ::-step].T

    spacing = image.affine[:3, :3].norm(dim=0).numpy()
    across, along = (float(spacing[orientation[:, 0] == k][0]) for k in (0, 1))
    return slice_of(image.as_tensor()), None if ids is None else slice_of(ids.as_tensor()), along / across
