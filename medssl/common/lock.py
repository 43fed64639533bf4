"""A lock on a run's folder that lives exactly as long as somebody works in it."""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and everything else works
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
INHERITED = "MEDSSL_LOCK"
"""Environment variable with which a process tells its child the descriptor of the lock that it hands down."""

logger = logging.getLogger(__name__)


def take(folder: Path, *, shared: bool = False) -> int | None:
    """Lock a folder until the descriptor that is returned is closed; None where somebody else holds it.

    The descriptor is that of ``folder/.lock``. Handed to a child process (``pass_fds``) it keeps the folder
    locked while the child lives, also when this process is killed: the kernel lets go when the last holder
    has ended, so that no stale lock is ever left behind. The ``filelock`` package closes its descriptor in
    children, and then an orphaned training and its successor would write one folder.

    A child that was told of the descriptor (:data:`INHERITED`) works under its parent's lock.

    On a network file system the lock is as good as that system's ``flock`` (NFS 4, and Lustre with
    ``-o flock``, have it across machines); where there is none, a warning says so and nothing is locked.

    Args:
        folder: made where it is missing; the file in it stays.
        shared: others may hold the folder at the same time if they ask for no more than that, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inherited = _inherited(folder)
    if inherited is not None:
        return os.dup(inherited)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    if fcntl is None:
        return descriptor
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        logger.warning("%s cannot be locked (%s): see that nobody else works in it", folder, error.strerror)
    return descriptor


@contextmanager
def hold(folder: Path, *, shared: bool = False) -> Iterator[int | None]:
    """:func:`take` for as long as the block lasts."""
    descriptor = take(folder, shared=shared)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether somebody holds a folder alone; nothing is written, and what cannot be known is taken for true.

    The folder is locked, shared, for the moment that the question takes.
    """
    if fcntl is None:
        return True
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def wait_until_free(folders: Iterable[Path], *, seconds: float) -> list[Path]:
    """Wait until nobody holds any of the folders.

    Args:
        folders: as :func:`take` locks them.
        seconds: at the most.

    Returns:
        Those that are still held then.
    """
    deadline = time.monotonic() + seconds
    held = list(folders)
    while held := [folder for folder in held if is_held(folder)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    return held


def _inherited(folder: Path) -> int | None:
    """The descriptor of this folder's lock that the parent holds and has handed down."""
    descriptor = os.environ.get(INHERITED, "")
    if not descriptor.isdecimal():
        return None
    try:
        is_this_lock = os.path.samestat(os.fstat(int(descriptor)), os.stat(folder / LOCK))
    except OSError:  # told of by a grandparent, whose descriptor did not come this far
        return None
    return int(descriptor) if is_this_lock else None
