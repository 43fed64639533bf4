"""Long tables from arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from medssl.protocol.analysis.store import COLUMNS


def long(
    methods: Mapping[str, Any],
    *,
    dataset: str = "toy",
    labeled: int = 4,
    checkpoint: str = "last",
    metric: str = "dice",
    selection: str = "validation",
) -> pd.DataFrame:
    """A table of one metric; ``methods`` gives (runs, cases) or (runs, cases, classes) each."""
    rows = []
    for method, values in methods.items():
        array = np.asarray(values, float)
        array = array[..., None] if array.ndim == 2 else array
        for (run, case, label), value in np.ndenumerate(array):
            place = (dataset, labeled, method, run + 1, checkpoint, selection, f"case-{case + 1:02d}")
            rows.append((*place, label + 1, metric, value))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def shuffled(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    return table.sample(frac=1, random_state=seed).reset_index(drop=True)
