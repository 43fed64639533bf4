"""Processes that a test starts, waits for a sign of, and signals."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

from tests.places import ROOT

# A process that hangs fails its test after so many seconds; one on a busy machine does not.
PATIENCE = 600


def start(code, *arguments, **options):
    """Python code in a process of its own, whose output is read as text."""
    return start_command([sys.executable, "-c", code, *map(str, arguments)], **options)


def start_command(command, *, in_background=False, **options):
    """A command as a terminal starts it or, ``in_background``, as a script starts it with ``&``.

    What a script starts with & ignores Ctrl-C, and so do its children: these tests, too, where they run so.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | options.pop("env", {})
    on_interrupt = signal.SIG_IGN if in_background else signal.SIG_DFL
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, encoding="utf-8",
        preexec_fn=partial(signal.signal, signal.SIGINT, on_interrupt),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def wait_for_file(process, path):
    """Until the process has made a file; an error where it ends before."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)


def ended(process):
    """Exit status, output and errors of a process, once it has ended."""
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output, errors


def hang(while_there=None):
    """Until a signal comes or a file is gone; in steps, lest a signal fall just before one long sleep."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and (while_there is None or while_there.exists()):
        time.sleep(0.01)
