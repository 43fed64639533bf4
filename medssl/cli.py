"""The console command ``medssl``.

A sub-command is a module of :mod:`medssl.commands`: ``add_NAME`` in the module ``NAME`` adds its parser and
names the function that runs it. Only the module of the command that was asked for is imported, and libraries
when it runs, so that ``--help`` answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from medssl import __version__
from medssl.common.errors import Interruption, end_early, signal_of, signals_raise, unknown_name

IN_ORDER_OF_USE = ("info", "phantom", "datalist", "check", "plan", "train", "evaluate", "predict")
"""What ``--help`` lists first; the others follow by name."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def command_names() -> list[str]:
    """The modules of :mod:`medssl.commands`, but for those that only serve others (``_name``)."""
    paths = (Path(__file__).parent / "commands").iterdir()
    names = {path.stem for path in paths if path.suffix == ".py" or (path / "__init__.py").is_file()}
    known = sorted(name for name in names if not name.startswith("_"))
    return sorted(known, key=lambda name: IN_ORDER_OF_USE.index(name) if name in IN_ORDER_OF_USE else 99)


def build_parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """The parser with some of the sub-commands."""
    parser = _Parser(
        prog="medssl",
        description="Semi-supervised segmentation of 3D medical scans.",
        epilog="Exit status: 0, 1 for findings or failed cases, 2 for bad input, 130 after Ctrl-C, 143 after "
        "SIGTERM.",
    )
    parser.add_argument("--version", action="version", version=f"medssl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name in names:
        getattr(import_module(f"medssl.commands.{name}"), f"add_{name}")(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status (``medssl --help`` lists them).

    Networks and transforms of the user's are looked for where he stands, as ``python -m medssl`` does.
    """
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())  # behind everything that is installed
    with signals_raise():
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(words: Sequence[str]) -> int:
    names = command_names()
    arguments = argparse.Namespace()
    try:
        if words and not words[0].startswith("-"):
            if words[0] not in names:
                raise unknown_name("command", words[0], names)
            names = [words[0]]
        parser = build_parser(names)
        arguments = parser.parse_args(words)
        if arguments.command is None:
            parser.print_help()
            return 0
        from medssl.common.progress import log_to_terminal

        log_to_terminal()
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as leave:  # argparse: --help, --version, wrong arguments
        return int(leave.code or 0)
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to tell anybody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, Exception) as error:
        early_status = end_early(_with_next_step(error, arguments, words))
        if early_status is None:
            raise
        return early_status


def _with_next_step(
    error: BaseException, arguments: argparse.Namespace, words: Sequence[str]
) -> BaseException:
    """Add to a bare interruption how to go on, where the command can."""
    if not isinstance(error, KeyboardInterrupt) or str(error) not in ("", "interrupted"):
        return error
    can_resume = hasattr(arguments, "resume")
    if not can_resume and not getattr(arguments, "goes_on", False):
        return error
    from medssl.common.next_steps import command_line

    kept = [word for word in words if not can_resume or word not in ("--resume", "--overwrite")]
    line = command_line("medssl", *kept, *(["--resume"] if can_resume else []))
    return Interruption(f"interrupted; go on with: {line}", signal_number=signal_of(error))
