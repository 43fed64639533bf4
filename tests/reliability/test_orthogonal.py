import pytest
import torch
from torch.nn import functional as F

from medssl.reliability.orthogonal import orthogonal_indices


def plain(embeddings, count, first, signed):
    """A full matrix, and a search through all that are left."""
    unit = F.normalize(embeddings, dim=1)
    cosines = unit @ unit.T if signed else (unit @ unit.T).abs()
    chosen = [first]
    while len(chosen) < min(count, len(unit)):
        left = [n for n in range(len(unit)) if n not in chosen]
        chosen.append(min(left, key=lambda n: max(cosines[n, m].item() for m in chosen)))
    return chosen


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("count", [1, 7, 100])
def test_equals_a_search_through_the_matrix_of_all_pairs(count, signed):
    rng = torch.Generator().manual_seed(count)
    embeddings = torch.randn(3, 20, 6, generator=rng, dtype=torch.float64)
    first = torch.tensor([4, 0, 19])
    chosen = orthogonal_indices(embeddings, count, first, signed=signed)
    expected = [plain(e, count, int(f), signed) for e, f in zip(embeddings, first, strict=True)]
    assert chosen.tolist() == expected


def test_no_one_is_chosen_twice_among_equals_and_zeros():
    embeddings = torch.ones(2, 9, 3)
    embeddings[1] = 0
    chosen = orthogonal_indices(embeddings, 9, torch.tensor([2, 8]))
    assert chosen.sort(1).values.tolist() == [list(range(9))] * 2


def test_axes_are_preferred_to_opposites_unless_signed():
    embeddings = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.2, 1.0]]])
    assert orthogonal_indices(embeddings, 2, torch.tensor([0])).tolist() == [[0, 2]]
    assert orthogonal_indices(embeddings, 2, torch.tensor([0]), signed=True).tolist() == [[0, 1]]
