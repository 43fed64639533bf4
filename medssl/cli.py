"""The console command ``medssl``.

A sub-command is one function that adds its parser and names the function that runs it, listed in
``COMMANDS``. Libraries are imported when a command runs, so that ``--help`` answers at once.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from medssl import __version__
from medssl.commands.bundle import add_bundle
from medssl.commands.calibrate import add_calibrate
from medssl.commands.check import add_check
from medssl.commands.datalist import add_datalist
from medssl.commands.evaluate import add_evaluate
from medssl.commands.predict import add_predict
from medssl.commands.protocol import add_protocol
from medssl.commands.review import add_review
from medssl.commands.robustness import add_robustness
from medssl.commands.train import add_train
from medssl.common.errors import InputError, find_input_error, unknown_name

Subparsers = Any  # argparse keeps the type private


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def add_info(commands: Subparsers) -> None:
    """``medssl info``: what a bug report needs."""
    parser = commands.add_parser("info", help="versions, devices and cores: what a bug report needs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_info)


def _info(arguments: argparse.Namespace) -> int:
    from medssl.common.environment import describe

    facts = describe()
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"{name:<{width}}  {value}")
    return 0


def add_phantom(commands: Subparsers) -> None:
    """``medssl phantom``: a folder of generated scans."""
    parser = commands.add_parser("phantom", help="make a folder of generated scans with labels")
    parser.add_argument("out", help="the folder, with images/, labels/ and dataset.json")
    parser.add_argument("--cases", type=int, default=24, help="number of cases (default 24)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the set (default 1)")
    parser.add_argument("--size", type=int, nargs=3, metavar="N", help="voxels (default 64 64 40)")
    parser.add_argument("--spacing", type=float, nargs=3, metavar="MM", help="mm (default 1.25 1.25 1.25)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--overwrite", action="store_true", help="replace a set made with other settings")
    parser.set_defaults(run=_phantom)


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


COMMANDS: tuple[Callable[[Subparsers], None], ...] = (
    add_info,
    add_phantom,
    add_datalist,
    add_check,
    add_train,
    add_evaluate,
    add_predict,
    add_calibrate,
    add_robustness,
    add_review,
    add_protocol,
    add_bundle,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser with all sub-commands."""
    parser = _Parser(prog="medssl", description="Semi-supervised segmentation of 3D medical scans.")
    parser.add_argument("--version", action="version", version=f"medssl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for add in COMMANDS:
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 if all is well, 1 for findings, 2 for bad input, 130 after Ctrl-C."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    known = next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    try:
        if given and not given[0].startswith("-") and given[0] not in known:
            raise unknown_name("command", given[0], known)
        arguments = parser.parse_args(given)
        if arguments.command is None:
            parser.print_help()
            return 0
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as leave:  # argparse: --help, --version, wrong arguments
        return int(leave.code or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to tell anybody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        found: InputError | None = find_input_error(error)
        if found is None:
            raise
        print(f"error: {found}", file=sys.stderr)
        return 2
