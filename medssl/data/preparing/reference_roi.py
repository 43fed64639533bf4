"""The literature's crop around the reference label, named for what it is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.transforms import generate_spatial_bounding_box

from medssl.common.errors import InputError
from medssl.data.lists.datalist import LISTS, Datalist
from medssl.data.reading.loading import LoadCased


def add_reference_boxes(
    datalist: Datalist,
    *,
    margin_voxels: int,
    min_size: Sequence[int],
    axes: Sequence[int] = (0, 1),
    spacing: float | Sequence[float] | None = None,
    h5_spacing: float | Sequence[float] = 1.0,
) -> Datalist:
    """Give every item the box of its reference label, as published pipelines crop.

    Needed to compare with published numbers and for nothing else: it reads the reference of every case,
    unlabelled and test cases included, which no deployed model can. Items still hold no label where they
    held none; only six numbers enter, and the metadata says so (``crop: reference-roi``).

    Along each of ``axes`` the box is the extent of the label plus, on both sides, ``margin_voxels +
    max(min_size - extent, 0) // 2``, clipped to the volume. Published: LA (UA-MT) a margin drawn from 10
    to 20 without a seed and ``min_size`` 112 - a fixed 15 is its repeatable middle; Pancreas-CT (MC-Net)
    margin 25 and ``min_size`` 96 on the grid of 1 mm. The scans that the field passes around as HDF5 are
    cropped already.

    Args:
        datalist: from :func:`medssl.data.build_datalist` or :func:`medssl.data.load_datalist`; references
            of unlabelled cases are found in its ``hidden_labels``.
        margin_voxels: margin on each side.
        min_size: patch size for each of the three axes, in voxels.
        axes: axes to crop; the others keep their length.
        spacing: voxel size in mm of the grid that ``margin_voxels`` and ``min_size`` refer to, where
            scans are resampled after the crop; the stored grid by default.
        h5_spacing: voxel size in mm of HDF5 volumes.

    Returns:
        A new datalist whose items carry ``roi``: ``[start, stop]`` for each axis in voxels of the stored
        array (for :class:`medssl.data.CropToBoxd`, which must stand right after loading).

    Raises:
        InputError: a case has no reference, or its label is empty or unreadable.
    """
    if margin_voxels < 0 or len(min_size) != 3 or not set(axes) <= {0, 1, 2}:
        raise ValueError(
            "need margin_voxels >= 0, three sizes and axes of 0, 1, 2; "
            f"got {margin_voxels}, {min_size}, {axes}"
        )
    loader = LoadCased("label", h5_spacing=h5_spacing, label_map=datalist.get("label_map"))
    hidden: dict[str, str] = datalist.get("hidden_labels", {})
    result = dict(datalist)
    for name in LISTS:
        result[name] = []
        for item in datalist.get(name, []):
            path = item.get("label", hidden.get(item["case"]))
            if path is None:
                raise InputError(
                    f"case {item['case']!r}",
                    "has no reference label, which crop reference-roi needs",
                    "use crop foreground",
                )
            label = loader.load_label([Path(path)])
            grid = None
            if spacing is not None:
                grid = np.broadcast_to(np.asarray(spacing, dtype=float), (3,)) / label.pixdim.numpy()
            box = reference_box(
                label.as_tensor()[0] > 0, margin=margin_voxels, min_size=min_size, axes=axes, grid=grid
            )
            if box is None:
                raise InputError(
                    path, "is an empty label, no box can be put around it", "use crop foreground"
                )
            result[name].append({**item, "roi": box})
    result["crop"] = "reference-roi"
    result["crop_note"] = (
        f"uses the reference of every case, test cases included: margin {margin_voxels}, "
        f"minimum {tuple(min_size)}, axes {tuple(axes)}"
        + (f", on {spacing} mm" if spacing is not None else "")
    )
    return result


def reference_box(
    mask: torch.Tensor,
    *,
    margin: int,
    min_size: Sequence[int],
    axes: Sequence[int],
    grid: Sequence[float] | np.ndarray | None = None,
) -> list[list[int]] | None:
    """Box ``[start, stop]`` for each axis around a bool mask ``(X, Y, Z)``, None where it is empty.

    ``grid`` is the number of stored voxels in one voxel of the grid that ``margin`` and ``min_size``
    count, for each axis; sides are rounded outwards.
    """
    if not mask.any():
        return None
    starts, stops = generate_spatial_bounding_box(mask[None], allow_smaller=True)
    box = []
    for axis, (start, stop, size) in enumerate(zip(starts, stops, mask.shape, strict=True)):
        if axis not in axes:
            box.append([0, int(size)])
            continue
        scale = 1.0 if grid is None else float(grid[axis])
        extent = int((stop - start) / scale)
        side = int(np.ceil((margin + max(min_size[axis] - extent, 0) // 2) * scale))
        box.append([max(int(start) - side, 0), min(int(stop) + side, int(size))])
    return box
