"""The voxel maps of a review folder: what each holds and what its file is called, in one table."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from medssl.inference.predictor import FORMULAS, Prediction, Uncertainty


@dataclass(frozen=True)
class VoxelMap:
    """One kind of map.

    Attributes:
        name: as side-cars and the overview call it.
        suffix: of its file, behind the case's name; ``{label}`` marks a map for each class and stands for its
            class id.
        bids: the same as entities and suffix of a BIDS derivative.
        content: what it holds, for readers.
        values: the map of a prediction, ``(X, Y, Z)``, or ``(K, X, Y, Z)`` for each class, or by class id
            where some have none; None where it was not asked for.
        formulas: by the second map that a predictor was asked for (its ``uncertainty``); empty without one.
        dtype: of the file; None for that of the values.
    """

    name: str
    suffix: str
    bids: str
    content: str
    values: Callable[[Prediction], NDArray[Any] | Mapping[int, NDArray[Any]] | None]
    formulas: Mapping[str, str] = field(default_factory=dict)
    dtype: type[np.floating] | None = np.float32  # NIfTI has no half precision


def _always(formula: str) -> dict[str, str]:
    return dict.fromkeys(get_args(Uncertainty), formula)


VOXEL_MAPS = (
    VoxelMap(
        "segmentation",
        "seg",
        "desc-medssl_dseg",
        "class ids, uint8 (uint16 above 256 classes)",
        lambda prediction: prediction.labels,
        dtype=None,
    ),
    VoxelMap(
        "confidence",
        "confidence",
        "stat-confidence_desc-medssl_statmap",
        "largest class probability, in [1 / K, 1]",
        lambda prediction: prediction.confidence,
        _always(FORMULAS["confidence"]),
    ),
    VoxelMap(
        "uncertainty",
        "uncertainty",
        "stat-uncertainty_desc-medssl_statmap",
        "entropy over ln K, in [0, 1]",
        lambda prediction: prediction.uncertainty,
        _always(FORMULAS["uncertainty"]),
    ),
    VoxelMap(
        "disagreement",
        "disagreement",
        "stat-disagreement_desc-medssl_statmap",
        "with `--uncertainty dual-axis`: largest difference of a class between the two decoders; with "
        "several checkpoints: the same between members, mean over pairs; in [0, 1]",
        lambda prediction: prediction.disagreement,
        {kind: FORMULAS[kind] for kind in ("dual-axis", "ensemble")},
    ),
    VoxelMap(
        "probability",
        "probability-{label}",
        "label-{label}_desc-medssl_probseg",
        "with `--probabilities`: of each class",
        lambda prediction: prediction.probabilities,
    ),
    VoxelMap(
        "band",
        "band-{label}",
        "label-{label}_desc-medsslband_dseg",
        "after `medssl calibrate --risk`: of each class 0 outside, 1 beyond the prediction but within the "
        "band, 2 predicted and within the band, 3 predicted and deeper; uint8",
        lambda prediction: prediction.bands,
        dtype=None,
    ),
)
"""All of them, in the order in which they are written."""


class MapFile(NamedTuple):
    """One file of a map.

    Attributes:
        name: of the map.
        label: class id that it is of, None where it is of all.
        values: ``(X, Y, Z)``, as they are written.
    """

    name: str
    label: int | None
    values: NDArray[Any]

    @property
    def title(self) -> str:
        """Name and class, as side-cars and the overview call the file."""
        return self.name if self.label is None else f"{self.name} {self.label}"


def map_files(prediction: Prediction) -> Iterator[MapFile]:
    """Every map that a prediction holds, class by class where it has one for each."""
    for kind in VOXEL_MAPS:
        values = kind.values(prediction)
        if values is None:
            continue
        arrays: Iterable[tuple[int | None, NDArray[Any]]]
        if isinstance(values, Mapping):
            arrays = values.items()
        else:
            arrays = enumerate(values) if "{label}" in kind.suffix else ((None, values),)
        for label, array in arrays:
            yield MapFile(kind.name, label, array if kind.dtype is None else array.astype(kind.dtype))
