"""Where a result came from: versions and commit of the program, and values as they are recorded."""

import platform
import re
import subprocess
from collections.abc import Mapping, Sequence, Set
from importlib import metadata
from pathlib import Path
from typing import Any

import medssl


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide what a training computes."""
    return {
        "python": platform.python_version(),
        "medssl": medssl.__version__,
        **{name: metadata.version(name) for name in ("torch", "monai", "numpy")},
    }


def git_commit() -> str | None:
    """Commit of the repository that the running ``medssl`` is part of; ``-dirty`` marks local changes.

    None for an installed package, also where its environment lies inside somebody else's repository.
    """
    folder = Path(medssl.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(folder, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")


def plain(value: Any) -> Any:
    """``value`` in the types that YAML, JSON and ``weights_only`` know; of others, the text.

    Of a function or another object whose text would hold its place in memory, that place is left out.
    """
    if value is None:
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, int | float | str) else str(key): plain(entry)
            for key, entry in value.items()
        }
    if isinstance(value, Sequence | Set):
        return [plain(entry) for entry in value]
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
