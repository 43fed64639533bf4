"""``medssl bundle``: the bundles of the package, and a copy of one to edit."""

import argparse
import shlex
from typing import Any

from medssl.common.bundles import bundle_names, copy_bundle
from medssl.common.errors import InputError


def add_bundle(commands: Any) -> None:
    """``medssl bundle``."""
    parser = commands.add_parser("bundle", help="list the bundles, or copy one to edit")
    parser.add_argument("name", nargs="?", help="which one; without it they are listed")
    parser.add_argument("out", nargs="?", help="the new folder; nothing is overwritten")
    parser.set_defaults(run=_bundle)


def _bundle(arguments: argparse.Namespace) -> int:
    if arguments.name is None:
        print("\n".join(bundle_names()))
        return 0
    if arguments.out is None:
        raise InputError("medssl bundle", "no folder to copy to", f"medssl bundle {arguments.name} OUT")
    copy_bundle(arguments.name, arguments.out)
    folder = shlex.quote(arguments.out)
    print(f"copied to {folder}\nnext: medssl train DATASET METHOD --bundle {folder}")
    return 0
