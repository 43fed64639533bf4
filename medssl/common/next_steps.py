"""What to type next, quoted for the shell."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from medssl.common.run_folder import SCORES, RunFolder


def command_line(*words: str | Path) -> str:
    """The words as one line for the shell, in double quotes where they hold single ones."""
    return " ".join(_quote(str(word)) for word in words)


def typed_command() -> list[str]:
    """The words with which this process was started, without the folders of the programs."""
    if "-m" in sys.orig_argv:
        return [Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]]
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def resume_command(words: Sequence[str] | None = None) -> str:
    """The command that goes on with a training of this process.

    Args:
        words: how it was started; by default :func:`typed_command`.
    """
    if words is None and "LOCAL_WORLD_SIZE" in os.environ:  # torchrun tells its workers no more than this
        return "the same torchrun command with --resume true"
    kept: list[str] = []
    words = list(typed_command() if words is None else words)
    while words:
        word = words.pop(0)
        if word in ("--resume", "--overwrite"):
            if words and not words[0].startswith("--"):
                words.pop(0)
        elif not word.startswith(("--resume=", "--overwrite=")):
            kept.append(word)
    return command_line(*kept, "--resume", "true")


def after_check(
    datalist: str | Path, *, num_classes: int | None = None, patch_size: Sequence[int] | None = None
) -> str:
    """The next command for a datalist of scans without errors: a plan; with a patch a training with it."""
    if patch_size is None:
        return command_line("medssl", "plan", datalist, "--out", "plan.yaml")
    options = [] if num_classes is None else ["--num_classes", str(num_classes)]
    options += ["--patch_size", f"[{','.join(map(str, patch_size))}]"]
    return command_line("medssl", "train", datalist, "tcseg_own", *options)


def after_run(run: RunFolder) -> str:
    """The next command for a run that is trained: scoring, then prediction."""
    if any((run.path / name).is_file() for name in SCORES):
        of_images = any(run.path.glob("sums_*.npz"))
        return command_line("medssl", "predict", run.path, "IMAGES" if of_images else "SCANS", "OUT")
    return command_line("medssl", "evaluate", run.path)


def _quote(word: str) -> str:
    if "'" in word and not re.search(r'["$`\\!]', word):
        return f'"{word}"'
    return shlex.quote(word)
