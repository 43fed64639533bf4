"""What the guides say of the corruptions is what the tables hold."""

import pytest

from medssl.data.corruptions import NATURAL_CORRUPTIONS, VOLUME_CORRUPTIONS, corruption_table
from medssl.data.corruptions.base import SEVERITIES
from tests.places import ROOT


@pytest.mark.parametrize("table", [VOLUME_CORRUPTIONS, NATURAL_CORRUPTIONS], ids=["scans", "images"])
def test_the_guide_prints_the_table(table):
    printed = corruption_table(table)
    assert printed in (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8"), printed


@pytest.mark.parametrize("table", [VOLUME_CORRUPTIONS, NATURAL_CORRUPTIONS], ids=["scans", "images"])
def test_every_severity_has_an_amount_of_its_own(table):
    for corruption in table.values():
        assert len(set(corruption.amounts)) == len(SEVERITIES), corruption.name
