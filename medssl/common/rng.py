"""The states of all random generators as plain values, so that a resumed run draws the same numbers."""

import random
from typing import Any

import numpy as np
import torch

RngState = dict[str, Any]


def get_rng_state(device: torch.device) -> RngState:
    """States of Python's, numpy's and torch's global generators, in types that ``weights_only`` loads.

    The CUDA generator is that of ``device``; the entry is None on other devices.
    """
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, next_gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": {
            "keys": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(gauss),
        },
        "python": [version, list(internal), next_gauss],
    }


def set_rng_state(state: RngState, device: torch.device) -> None:
    """Put back what :func:`get_rng_state` gave; a CUDA state only where ``device`` is a CUDA device."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    drawn = state["numpy"]
    keys = drawn["keys"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, drawn["position"], drawn["has_gauss"], drawn["gauss"]))
    version, internal, next_gauss = state["python"]
    random.setstate((version, tuple(internal), next_gauss))
