"""What the guides say of the corruptions is what the tables hold."""

import numpy as np
import pytest

from medssl.data.corruptions import NATURAL_CORRUPTIONS, VOLUME_CORRUPTIONS
from medssl.data.corruptions.base import SEVERITIES
from tests.places import ROOT


@pytest.mark.parametrize("table", [VOLUME_CORRUPTIONS, NATURAL_CORRUPTIONS], ids=["scans", "images"])
def test_the_guide_prints_the_table(table):
    lines = ["| corruption | what it is | severity 1, 2, 3, 4, 5 | amount |", "| --- | --- | --- | --- |"]
    for corruption in table.values():
        amounts = [" / ".join(f"{number:g}" for number in np.atleast_1d(a)) for a in corruption.amounts]
        cells = (f"`{corruption.name}`", corruption.title, ", ".join(amounts), corruption.meaning)
        lines.append(f"| {' | '.join(cells)} |")
    printed = "\n".join(lines) + "\n"
    assert printed in (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8"), printed


@pytest.mark.parametrize("table", [VOLUME_CORRUPTIONS, NATURAL_CORRUPTIONS], ids=["scans", "images"])
def test_every_severity_has_an_amount_of_its_own(table):
    for corruption in table.values():
        assert len(set(corruption.amounts)) == len(SEVERITIES), corruption.name
