"""A folder of phantoms, written case by case; a set that was cut short is completed."""

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from medssl import __version__
from medssl.common.errors import InputError, leave_signals_to_parent
from medssl.common.files import atomic_path, write_text
from medssl.common.progress import track
from medssl.data.preparing.phantoms import CLASSES, SIZE, SPACING, make_phantom, nifti_bytes


def write_phantoms(
    out: str | Path,
    *,
    cases: int,
    seed: int,
    size: Sequence[int] = SIZE,
    spacing: Sequence[float] = SPACING,
    jobs: int = 1,
    overwrite: bool = False,
) -> list[str]:
    """Write ``images/phantom_000.nii.gz``, ``labels/phantom_000.nii.gz``, ... and ``dataset.json``.

    A case depends on seed and number alone: a larger set of the same seed begins with the smaller one, and
    what is there already is kept. The bytes are the same whatever ``jobs`` is.

    Args:
        out: the folder.
        cases: number of cases.
        seed: of the set.
        size: voxels along each axis.
        spacing: nominal mm per voxel along each axis.
        jobs: processes.
        overwrite: replace a set that was made with other settings.

    Returns:
        The names of the cases.

    Raises:
        InputError: a count below 1, a volume too small, a folder that holds something else, or a set made
            with other settings.
    """
    out = Path(out)
    for name, value in (("cases", cases), ("jobs", jobs)):
        if value < 1:
            raise InputError(f"{name}={value}", "must be at least 1", "ask for more")
    settings = {"seed": seed, "size": list(size), "spacing": list(spacing), "version": __version__}
    names = [f"phantom_{number:03d}" for number in range(cases)]
    make_phantom(0, seed=seed, size=size, spacing=spacing)  # settings that cannot be drawn end here
    kept = _prepare(out, settings, overwrite)
    missing = [n for n, name in enumerate(names) if not all(p.is_file() for p in _paths(out, name))]
    record = {
        "name": "phantom",
        "classes": {str(k): v for k, v in CLASSES.items()},
        **settings,
        "cases": sorted({*kept, *names}),
    }
    write_text(out / "dataset.json", json.dumps(record, indent=2) + "\n")
    write = partial(_write_case, out, seed=seed, size=tuple(size), spacing=tuple(spacing))
    shown = partial(track, total=len(missing), title="phantoms", unit="case")
    if jobs == 1 or len(missing) < 2:
        list(shown(map(write, missing)))
        return names
    # Forked workers would inherit the threads of whoever calls this.
    workers = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=leave_signals_to_parent)
    with workers as pool:
        try:
            list(shown(pool.map(write, missing)))
        except BaseException:  # Ctrl-C should not wait for the cases in the queue
            pool.shutdown(cancel_futures=True)
            raise
    return names


def _paths(out: Path, name: str) -> tuple[Path, Path]:
    return out / "images" / f"{name}.nii.gz", out / "labels" / f"{name}.nii.gz"


def _write_case(
    out: Path, number: int, *, seed: int, size: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    phantom = make_phantom(number, seed=seed, size=size, spacing=spacing)
    image, label = _paths(out, f"phantom_{number:03d}")
    with atomic_path(image) as temporary:
        temporary.write_bytes(nifti_bytes(phantom.image, phantom.affine))
    with atomic_path(label) as temporary:
        temporary.write_bytes(nifti_bytes(phantom.label, phantom.affine))


def _prepare(out: Path, settings: dict[str, Any], overwrite: bool) -> list[str]:
    """The cases that the folder lists already; removes a set of other settings where that was asked for."""
    if out.exists() and not out.is_dir():
        raise InputError(out, "not a folder", "choose another output folder")
    path = out / "dataset.json"
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise InputError(out, "holds something else than phantoms", "choose an empty folder")
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        listed = [str(name) for name in record["cases"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, "is not the record of a phantom set", "choose another folder") from error
    differing = [name for name, value in settings.items() if record.get(name) != value]
    if not differing:
        return listed
    if not overwrite:
        name = differing[0]
        raise InputError(
            out,
            f"holds phantoms made with {name}={record.get(name)}, not {settings[name]}",
            "add --overwrite or choose another folder",
        )
    for name in listed:
        for file in _paths(out, name):
            file.unlink(missing_ok=True)
    return []
