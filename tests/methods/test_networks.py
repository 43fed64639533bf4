"""Which methods train which networks: the table of docs/networks.md, cell by cell."""

import pytest
import torch
from monai.networks.nets import DynUNet, SegResNet

from medssl import methods
from medssl.common.errors import InputError
from medssl.methods import Batch
from medssl.networks import Adapted, DualDecoderVNet, VNet
from medssl.reliability import AgentScoreSelector
from tests.places import ROOT

SLICES = {"strides": [[2, 2, 1], [2, 2, 2]], "kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3]]}
DYNAMIC = {"kernel_size": SLICES["kernels"], "strides": [1, *SLICES["strides"]], "filters": [2, 4, 8]}
NETWORKS = {
    "`DualDecoderVNet`": lambda: DualDecoderVNet(width=2, **SLICES),
    "`VNet`": lambda: VNet(width=2, **SLICES),
    "`Adapted`: `dynunet`": lambda: Adapted(
        DynUNet(3, 1, 2, upsample_kernel_size=SLICES["strides"], **DYNAMIC)
    ),
    "`Adapted`: `segresnet`": lambda: Adapted(SegResNet(3, 8, 1, 2)),
}
SELECTOR = "selector `agscore`"


def table():
    """Cells by network and column."""
    lines = (ROOT / "docs" / "networks.md").read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("| trained by |"))
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:])
    rows = rows[: next(index for index, row in enumerate(rows) if len(row) != len(head))]
    return {(row[0], column): cell for row in rows for column, cell in zip(head[1:], row[1:], strict=True)}


TABLE = table()


def trains(network, name, **options):
    torch.manual_seed(0)
    try:
        method = methods.get(name)(NETWORKS[network](), **options).train()
        images = torch.randn(4, 1, 16, 16, 8)
        unlabeled = dict.fromkeys(method.views, images[: 4 if method.partners else 2])
        batch = Batch(torch.randn(2, 1, 16, 16, 8), torch.randint(0, 2, (2, 16, 16, 8)), unlabeled)
        losses = method.training_step(batch, 1)
    except InputError:
        return False
    losses["loss"].backward()
    assert any(p.grad is not None and p.grad.any() for p in method.network.parameters())
    return True


@pytest.mark.parametrize(("network", "column"), TABLE)
def test_the_guide_says_what_works(network, column):
    if column == SELECTOR:
        works = trains(network, "fixmatch", selector=AgentScoreSelector())
    else:
        works = trains(network, column.strip("`"))
    assert TABLE[network, column] == ("yes" if works else "no")


def test_the_guide_names_these_networks():
    assert {network for network, _ in TABLE} == set(NETWORKS)
