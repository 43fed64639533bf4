"""Marks: ``bundle`` for what runs MONAI bundles, ``real`` for what needs the data beside the repository."""

import logging
import os
from pathlib import Path

import pytest

from medssl.common import errors
from tests.places import ROOT, SHARED

if "PYTEST_XDIST_WORKER" in os.environ:  # processes of tests share the cores; before torch reads it
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items):
    for item in items:
        if ROOT / "tests" / "bundles" in Path(item.path).parents:
            item.add_marker("bundle")
        for mark in item.iter_markers("real"):
            missing = [place for place in mark.args if not (SHARED / place).exists()]
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"needs ../shared/{missing[0]}"))


@pytest.fixture(autouse=True)
def _nothing_is_left_of_other_tests(monkeypatch):
    """Neither runs that asked to be told of an early end, nor the terminal in which tests were started."""
    monkeypatch.setattr(errors, "_before_early_end", [])
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def _logging_begins_anew():
    _forget_logging()
    yield
    _forget_logging()


def _forget_logging():
    """A bundle that runs in this process configures logging: its handler writes to what its test captured."""
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]
    root.setLevel(logging.WARNING)
    for name in ("medssl", "ignite"):
        logging.getLogger(name).setLevel(logging.NOTSET)
