"""A folder of generated cases, written one by one; a set that was cut short is completed."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from medssl import __version__
from medssl.common.errors import InputError, leave_signals_to_parent
from medssl.common.files import atomic_path, write_text
from medssl.common.progress import track
from medssl.data.preparing.phantoms import CLASSES, SIZE, SPACING, make_phantom, nifti_bytes
from medssl.data.preparing.shapes import IMAGE_SIZE, SHAPE_CLASSES, make_shapes, png_bytes


@dataclass(frozen=True)
class _Kind:
    """What differs between sets: ``draw(number, seed=, **settings)`` gives the bytes of image and label."""

    name: str
    suffix: str
    classes: Mapping[int, str]
    draw: Callable[..., tuple[bytes, bytes]]

    def paths(self, out: Path, case: str) -> tuple[Path, Path]:
        return out / "images" / f"{case}{self.suffix}", out / "labels" / f"{case}{self.suffix}"


def _draw_phantom(number: int, **settings: Any) -> tuple[bytes, bytes]:
    phantom = make_phantom(number, **settings)
    return nifti_bytes(phantom.image, phantom.affine), nifti_bytes(phantom.label, phantom.affine)


def _draw_shapes(number: int, **settings: Any) -> tuple[bytes, bytes]:
    shapes = make_shapes(number, **settings)
    return png_bytes(shapes.image), png_bytes(shapes.label)


_PHANTOM = _Kind("phantom", ".nii.gz", CLASSES, _draw_phantom)
_SHAPES = _Kind("shapes", ".png", SHAPE_CLASSES, _draw_shapes)


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
    settings = {"size": list(size), "spacing": list(spacing)}
    return _write_set(_PHANTOM, out, cases, seed, settings, jobs=jobs, overwrite=overwrite)


def write_shapes(
    out: str | Path,
    *,
    cases: int,
    seed: int,
    size: Sequence[int] = IMAGE_SIZE,
    jobs: int = 1,
    overwrite: bool = False,
) -> list[str]:
    """As :func:`write_phantoms`, images of shapes: ``images/shapes_000.png``, ``labels/shapes_000.png``, ...

    Args:
        out: the folder.
        cases: number of images.
        seed: of the set.
        size: pixels, rows first.
        jobs: processes.
        overwrite: replace a set that was made with other settings.

    Returns:
        The names of the cases.

    Raises:
        InputError: as :func:`write_phantoms`.
    """
    return _write_set(_SHAPES, out, cases, seed, {"size": list(size)}, jobs=jobs, overwrite=overwrite)


def _write_set(
    kind: _Kind,
    out: str | Path,
    cases: int,
    seed: int,
    settings: Mapping[str, Any],
    *,
    jobs: int,
    overwrite: bool,
) -> list[str]:
    out = Path(out)
    for name, value in (("cases", cases), ("jobs", jobs)):
        if value < 1:
            raise InputError(f"{name}={value}", "must be at least 1", "ask for more")
    names = [f"{kind.name}_{number:03d}" for number in range(cases)]
    kind.draw(0, seed=seed, **settings)  # settings that cannot be drawn end here
    recorded = {"seed": seed, **settings, "version": __version__}
    kept = _prepare(kind, out, recorded, overwrite)
    missing = [n for n, name in enumerate(names) if not all(p.is_file() for p in kind.paths(out, name))]
    record = {
        "name": kind.name,
        "classes": {str(k): v for k, v in kind.classes.items()},
        **recorded,
        "cases": sorted({*kept, *names}),
    }
    write_text(out / "dataset.json", json.dumps(record, indent=2) + "\n")
    write = partial(_write_case, kind, out, seed=seed, **settings)
    shown = partial(track, total=len(missing), title=kind.name, unit="case")
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


def _write_case(kind: _Kind, out: Path, number: int, **settings: Any) -> None:
    contents = kind.draw(number, **settings)
    for path, content in zip(kind.paths(out, f"{kind.name}_{number:03d}"), contents, strict=True):
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)


def _prepare(kind: _Kind, out: Path, settings: dict[str, Any], overwrite: bool) -> list[str]:
    """The cases that the folder lists already; removes a set of other settings where that was asked for."""
    if out.exists() and not out.is_dir():
        raise InputError(out, "not a folder", "choose another output folder")
    path = out / "dataset.json"
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise InputError(out, f"holds something else than {kind.name} cases", "choose an empty folder")
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        listed = [str(name) for name in record["cases"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, "is not the record of a phantom set", "choose another folder") from error
    if record.get("name") != kind.name:
        raise InputError(out, f"holds a set of {record.get('name')} cases", "choose another folder")
    differing = [name for name, value in settings.items() if record.get(name) != value]
    if not differing:
        return listed
    if not overwrite:
        name = differing[0]
        raise InputError(
            out,
            f"holds a set made with {name}={record.get(name)}, not {settings[name]}",
            "add --overwrite or choose another folder",
        )
    for name in listed:
        for file in kind.paths(out, name):
            file.unlink(missing_ok=True)
    return []
