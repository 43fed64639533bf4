"""Processes that a test starts, waits for a sign of, and signals."""

import os
import subprocess
import sys
import time

from tests.places import ROOT


def start(code, *arguments, **options):
    """Python code in a process of its own, whose output is read as text."""
    return start_command([sys.executable, "-c", code, *map(str, arguments)], **options)


def start_command(command, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def wait_for_file(process, path, seconds=120):
    """Until the process has made a file; an error where it ends before, or takes too long."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)
