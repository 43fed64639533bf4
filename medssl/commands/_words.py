"""Command lines whose options are those of a bundle: ``NAME ... [--option value ...]``."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError

FLAGS = ("dry_run", "resume", "overwrite", "help")
"""Options that need no value."""

PATHS = ("run_dir", "dataset_dir", "datalist_file")
"""Options that are places: relative ones start where the user types."""


def add_words(commands: Any, name: str, *, summary: str, run: Callable[[argparse.Namespace], int]) -> None:
    """A sub-command that takes all words as they are; argparse knows none of a bundle's options."""
    parser = commands.add_parser(name, help=summary, prefix_chars="\0", add_help=False)
    parser.add_argument("words", nargs="*")
    parser.set_defaults(run=run)


def split_words(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Positional words, and options by name; ``--run-dir X``, ``--run_dir X`` and ``--run_dir=X`` are one.

    Raises:
        InputError: an option without a value.
    """
    names, options = [], {}
    left = ["--help" if word == "-h" else word for word in words]
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            names.append(word)
            continue
        name, mark, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if not mark:
            if left and not left[0].startswith("--"):
                value = left.pop(0)
            elif name in FLAGS:
                value = "true"
            else:
                raise InputError(word, "has no value", f"give one: {word} VALUE")
        options[name] = str(Path(value).expanduser().absolute()) if name in PATHS else value
    return names, options


def take_flag(options: dict[str, str], name: str) -> bool:
    """Take a yes or no out of the options.

    Raises:
        InputError: neither of them.
    """
    value = options.pop(name, "false").lower()
    if value not in ("true", "false"):
        raise InputError(f"--{name} {value}", "neither true nor false", "leave the value out, or give one")
    return value == "true"
