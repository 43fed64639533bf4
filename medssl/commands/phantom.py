"""``medssl phantom``: a folder of generated scans."""

import argparse
from typing import Any


def add_phantom(commands: Any) -> None:
    """``medssl phantom``."""
    parser = commands.add_parser("phantom", help="make a folder of generated scans with labels")
    parser.add_argument("out", help="the folder, with images/, labels/ and dataset.json")
    parser.add_argument("--cases", type=int, default=24, help="number of cases (default 24)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the set (default 1)")
    parser.add_argument("--size", type=int, nargs=3, metavar="N", help="voxels (default 64 64 40)")
    parser.add_argument("--spacing", type=float, nargs=3, metavar="MM", help="mm (default 1.25 1.25 1.25)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace a set made with other settings")
    parser.set_defaults(run=_phantom, goes_on=True)


def _phantom(arguments: argparse.Namespace) -> int:
    from medssl.data.preparing.phantom_set import write_phantoms
    from medssl.data.preparing.phantoms import SIZE, SPACING

    names = write_phantoms(
        arguments.out,
        cases=arguments.cases,
        seed=arguments.seed,
        size=arguments.size or SIZE,
        spacing=arguments.spacing or SPACING,
        jobs=arguments.jobs,
        overwrite=arguments.overwrite,
    )
    print(f"{len(names)} phantoms in {arguments.out}")
    return 0
