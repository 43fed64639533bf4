"""``medssl phantom``: a folder of generated scans, or of generated images."""

import argparse
from typing import Any


def add_phantom(commands: Any) -> None:
    """``medssl phantom``."""
    parser = commands.add_parser("phantom", help="make a folder of generated scans, or images, with labels")
    parser.add_argument("out", help="the folder, with images/, labels/ and dataset.json")
    parser.add_argument("--cases", type=int, default=24, help="number of cases (default 24)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the set (default 1)")
    parser.add_argument("--axes", type=int, default=3, choices=(2, 3), help="3: scans; 2: images of shapes")
    parser.add_argument(
        "--size", type=int, nargs="+", metavar="N", help="voxels (default 64 64 40), or pixels (96 128)"
    )
    parser.add_argument(
        "--spacing", type=float, nargs=3, metavar="MM", help="of scans, mm (default 1.25 1.25 1.25)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace a set made with other settings")
    parser.set_defaults(run=_phantom, goes_on=True)


def _phantom(arguments: argparse.Namespace) -> int:
    from medssl.common.errors import InputError
    from medssl.data.preparing.phantom_set import write_phantoms, write_shapes

    options = {name: getattr(arguments, name) for name in ("cases", "seed", "jobs", "overwrite")}
    options |= {name: value for name in ("size", "spacing") if (value := getattr(arguments, name))}
    if arguments.axes == 2 and arguments.spacing:
        raise InputError("--spacing", "images have none", "leave it out, or make scans (--axes 3)")
    names = (write_shapes if arguments.axes == 2 else write_phantoms)(arguments.out, **options)
    print(f"{len(names)} {'images' if arguments.axes == 2 else 'phantoms'} in {arguments.out}")
    return 0
