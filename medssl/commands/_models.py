"""What commands that use a trained model have in common: which one, and how it runs."""

import argparse
import sys
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that choose checkpoints, and what they are run with."""
    parser.add_argument("--checkpoint", nargs="+", metavar="FILE", help="instead of RUN: best.pt or last.pt")
    parser.add_argument("--use", choices=("last", "best"), default="last", help="of RUN (default: last)")
    parser.add_argument(
        "--allow",
        nargs="+",
        default=[],
        metavar="PACKAGE",
        help="packages of your own whose network or transforms a checkpoint may name; their code is run",
    )
    parser.add_argument("--stride", type=int, nargs="+", metavar="N", help="step between windows in voxels")
    parser.add_argument("--amp", choices=("off", "bf16"), help="bf16 is faster (default: the training's)")
    parser.add_argument("--device", help="such as cuda:0 (default: a GPU where there is one)")
    parser.add_argument("--bundle", help=argparse.SUPPRESS)


def add_test_time_options(parser: Any) -> None:
    """Options of a prediction that change its labels, and with them what may be promised of it."""
    parser.add_argument("--window-weights", choices=("constant", "gaussian"), default="constant")
    parser.add_argument(
        "--flips", type=int, nargs="+", default=[], metavar="AXIS", help="average over flips of these axes"
    )
    parser.add_argument("--keep-largest", type=int, nargs="+", default=[], metavar="CLASS")
    parser.add_argument("--fill-holes", type=int, nargs="+", default=[], metavar="CLASS")


def checkpoints_of(
    arguments: argparse.Namespace, *options: str, at_most: int | None = None
) -> tuple[list[Path], list[str]]:
    """The checkpoints of a command line, and what its further places name.

    Places (``RUN`` and others) may be given one after the other; ``--checkpoint`` stands for the first and an
    option for each of the others.

    Args:
        arguments: with ``places``, the options of :func:`add_model_options`, and ``options``.
        options: names of the options that the further places stand for, in their order.
        at_most: number of checkpoints.

    Raises:
        InputError: too few places, too many, or no checkpoint there.
    """
    from medssl.inference.checkpoints import checkpoint_file

    if arguments.bundle is not None:
        print("--bundle is not needed: a checkpoint says how it was trained", file=sys.stderr)
    places = list(arguments.places)
    runs = arguments.checkpoint or places[:1]
    places = places if arguments.checkpoint else places[1:]
    named = [getattr(arguments, option) for option in options]
    missing = named.count(None)
    if not runs or len(places) != missing:
        words = " ".join(option.upper() for option in options)
        raise InputError(
            f"{len(arguments.places)} place(s)",
            "too many or too few",
            f"give RUN {words}, or --checkpoint FILE and "
            + " and ".join(f"--{option}" for option in options),
        )
    if at_most is not None and len(runs) > at_most:
        raise InputError(f"{len(runs)} checkpoints", "too many", f"give {at_most}")
    remaining = iter(places)
    return (
        [checkpoint_file(run, arguments.use) for run in runs],
        [next(remaining) if value is None else value for value in named],
    )
