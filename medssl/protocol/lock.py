"""A lock on a run's folder that lives exactly as long as somebody works in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def hold(folder: Path) -> Iterator[int | None]:
    """Lock a folder, or yield None where somebody else holds it.

    What is yielded is the descriptor of ``folder/.lock``. Handed to a child process (``pass_fds``) it keeps
    the folder locked while the child lives, also when this process is killed: the kernel lets go when the
    last holder has ended, so that no stale lock is ever left behind. The ``filelock`` package closes its
    descriptor in children, and then an orphaned training and its successor would write one folder.

    On a network file system the lock is as good as that system's ``flock`` (NFS 4, and Lustre with
    ``-o flock``, have it across machines).

    Args:
        folder: made where it is missing; the file in it stays.
    """
    import fcntl  # not on Windows, where everything else of the package can still be imported

    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)
