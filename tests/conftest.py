"""Marks: ``bundle`` for what runs MONAI bundles, ``real`` for what needs the data beside the repository."""

from pathlib import Path

import pytest

from tests.places import ROOT, SHARED


def pytest_collection_modifyitems(items):
    for item in items:
        if ROOT / "tests" / "bundles" in Path(item.path).parents:
            item.add_marker("bundle")
        for mark in item.iter_markers("real"):
            missing = [place for place in mark.args if not (SHARED / place).exists()]
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"needs ../shared/{missing[0]}"))
