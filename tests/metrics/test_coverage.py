import math

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_score, recall_score

from medssl.metrics import CoverageCounts, coverage_counts


def random_case(seed=0, shape=(4, 5), classes=3, batch=2):
    generator = torch.Generator().manual_seed(seed)
    sets = torch.rand(batch, classes, *shape, generator=generator) < 0.5
    labels, truth = (torch.randint(classes + 1, (batch, *shape), generator=generator) for _ in range(2))
    return sets, labels.masked_fill(labels == classes, 255), truth.masked_fill(truth == classes, 255)


def loop(sets, labels, truth):
    counts = {name: [0] * sets.shape[1] for name in CoverageCounts.__dataclass_fields__}
    for place in np.ndindex(*truth.shape):
        reference, given = int(truth[place]), int(labels[place])
        if reference == 255:
            continue
        members = sets[(place[0], slice(None), *place[1:])].tolist()
        counts["reference"][reference] += 1
        counts["covered"][reference] += members[reference]
        counts["set_sizes"][reference] += sum(members)
        if given != 255:
            counts["kept"][reference] += 1
            counts["labeled"][given] += 1
            counts["right"][given] += given == reference
    return counts


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 2), (7,)])
def test_counts_are_those_of_a_loop_over_pixels(shape):
    case = random_case(shape=shape)
    counts = coverage_counts(*case)
    for name, expected in loop(*case).items():
        assert getattr(counts, name).tolist() == expected
        assert getattr(counts, name).dtype == torch.int64


def test_counts_of_images_add_up_to_those_of_the_batch():
    case = random_case(batch=3)
    parts = [coverage_counts(*(part[i : i + 1] for part in case)) for i in range(3)]
    whole, added = coverage_counts(*case), parts[0] + parts[1] + parts[2]
    assert all(torch.equal(getattr(whole, n), getattr(added, n)) for n in loop(*case))
    with pytest.raises(ValueError, match="3 classes, and 2"):
        whole + coverage_counts(*random_case(classes=2))


def test_precision_and_recall_are_scikit_learn_s():
    sets, labels, truth = random_case(shape=(20, 20))
    counts = coverage_counts(sets, labels, truth)
    known = truth != 255
    pair, options = (truth[known], labels[known]), {"labels": [0, 1, 2], "average": None}
    np.testing.assert_allclose(counts.precision, precision_score(*pair, **options))
    np.testing.assert_allclose(counts.recall, recall_score(*pair, **options))
    assert counts.overall_recall == pytest.approx((labels == truth)[known].float().mean().item())


def test_ratios_follow_from_their_counts():
    counts = CoverageCounts(
        *(torch.tensor(row) for row in ([10, 30], [9, 15], [12, 60], [8, 20], [16, 12], [7, 9]))
    )
    assert counts.coverage.tolist() == [0.9, 0.5]
    assert counts.set_size.tolist() == [1.2, 2.0]
    assert counts.kept_share.tolist() == [0.8, pytest.approx(2 / 3)]
    assert counts.precision.tolist() == [7 / 16, 9 / 12]
    assert counts.recall.tolist() == [0.7, 0.3]
    assert counts.overall_coverage == 24 / 40
    assert counts.overall_set_size == 72 / 40
    assert counts.overall_kept_share == 28 / 40
    assert counts.overall_precision == pytest.approx(16 / 28)
    assert counts.overall_recall == 16 / 40


def test_what_nobody_labelled_has_no_ratio():
    sets, labels, _ = random_case()
    counts = coverage_counts(sets, labels, torch.full_like(labels, 255))
    assert math.isnan(counts.overall_coverage)
    assert counts.coverage.isnan().all()
    assert not counts.labeled.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, y, t: (s.float(), y, t), "sets must be bool"),
        (lambda s, y, t: (s, y[:1], t), "labels and truth must be"),
        (lambda s, y, t: (s, y, t[:, :1]), "labels and truth must be"),
        (lambda s, y, t: (s, y, t + 7), "truth must be class ids in 0 to 2"),
        (lambda s, y, t: (s, torch.full_like(y, 3), t), "labels must be class ids in 0 to 2"),
    ],
)
def test_what_does_not_belong_together_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        coverage_counts(*change(*random_case()))
