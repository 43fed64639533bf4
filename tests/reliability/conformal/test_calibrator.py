from fractions import Fraction

import numpy as np
import pytest
import torch

from medssl.common.errors import InputError
from medssl.reliability import ConformalCalibrator
from medssl.reliability.conformal import conformal_quantile, conformal_rank, labels_of_sets

from . import loops


def random_pairs(count, classes=3, shape=(6, 5), seed=0, void=0.2, labels_shape=None):
    """Maps that are right more often than not."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for _ in range(count):
        labels = torch.randint(classes, labels_shape or shape, generator=generator)
        logits = 1.5 * torch.randn(classes, *shape, generator=generator)
        if labels.shape == tuple(shape):
            logits += 2 * torch.nn.functional.one_hot(labels, classes).movedim(-1, 0)
        labels[torch.rand(labels.shape, generator=generator) < void] = 255
        pairs.append((logits.softmax(0), labels))
    return pairs


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5)])
@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_pixel_thresholds_are_those_of_a_loop_over_pixels(shape, per_class, alpha):
    pairs = random_pairs(40, shape=shape)
    calibrator = ConformalCalibrator(alpha, grid=shape, per_class=per_class, min_scores=12).fit(pairs)
    classes = range(3) if per_class else (None,)
    exact = Fraction(str(alpha))
    expected = loops.pixel_thresholds(pairs, shape, exact, 12, classes)
    np.testing.assert_allclose(calibrator.thresholds.numpy(), expected, atol=1e-6)
    assert bool(calibrator.fallbacks) == per_class
    assert int(calibrator.fallbacks) == int((calibrator.counts < 12).sum())
    assert (int(calibrator.images), int(calibrator.num_classes)) == (40, 3)


@pytest.mark.parametrize(("grid", "size"), [((7, 9), (4, 5)), ((3, 4), (6, 8)), ((4, 3, 5), (2, 3, 4))])
def test_maps_and_labels_of_other_sizes_are_brought_to_the_grid(grid, size):
    pairs = random_pairs(25, shape=size, labels_shape=tuple(2 * side for side in size))
    pairs[3] = random_pairs(1, shape=tuple(side + 1 for side in size), seed=9)[0]
    calibrator = ConformalCalibrator(0.2, grid=grid, min_scores=3).fit(iter(pairs))
    expected = loops.pixel_thresholds(pairs, grid, Fraction(1, 5), 3)
    np.testing.assert_allclose(calibrator.thresholds.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("background", [None, 0, 2])
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 2)])
def test_sets_and_labels_are_those_of_a_loop_over_pixels(background, shape):
    calibrator = ConformalCalibrator(0.3, grid=shape, min_scores=5).fit(random_pairs(30, shape=shape))
    probs = torch.stack([p for p, _ in random_pairs(4, shape=shape, seed=5)])
    sets, labels = calibrator.prediction_sets(probs), calibrator.calibrated_labels(probs, background)
    assert labels.dtype == torch.int64
    assert {0, 1, 2} <= set(sets.sum(1).unique().tolist())
    for index in np.ndindex(4, *shape):
        pixel = (index[0], slice(None), *index[1:])
        p, inside = probs[pixel], sets[pixel]
        assert torch.equal(inside, 1 - p <= calibrator.thresholds[(0, *index[1:])])
        assert labels[index] == loops.label(p.tolist(), inside.tolist(), background)


def test_thresholds_are_brought_to_the_image_by_nearest_neighbour():
    calibrator = ConformalCalibrator(0.3, grid=(3, 4), min_scores=2).fit(random_pairs(30))
    probs = torch.stack([p for p, _ in random_pairs(2, shape=(7, 9))])
    expected = loops.nearest(calibrator.thresholds[0].numpy(), (7, 9))
    assert torch.equal(calibrator.prediction_sets(probs), 1 - probs <= torch.from_numpy(expected))


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5)])
@pytest.mark.parametrize("per_class", [False, True])
def test_pooling_over_images_takes_every_labelled_pixel_at_its_own_size(shape, per_class):
    other = random_pairs(3, shape=tuple(2 * side for side in shape), seed=3)
    pairs = [*random_pairs(10, shape=shape), *other]
    calibrator = ConformalCalibrator(0.1, "image", per_class=per_class).fit(pairs)
    scores = [
        (1 - p[y[i]][i].item(), int(y[i])) for p, y in pairs for i in np.ndindex(*y.shape) if y[i] != 255
    ]
    for row, wanted in enumerate(range(3) if per_class else [None]):
        own = [score for score, k in scores if wanted in (None, k)]
        assert int(calibrator.counts[row]) == len(own)
        assert float(calibrator.thresholds[row]) == pytest.approx(
            loops.quantile(own, Fraction(1, 10)), abs=1e-6
        )
    probs = torch.rand(2, 3, *shape)
    thresholds = calibrator.thresholds.view(1, -1, *[1] * len(shape))
    assert torch.equal(calibrator.prediction_sets(probs), 1 - probs <= thresholds)


@pytest.mark.parametrize("pooling", ["kmeans", "genann"])
@pytest.mark.parametrize("per_class", [False, True])
def test_a_region_takes_the_quantile_of_all_its_scores(pooling, per_class):
    pairs, grid = random_pairs(30, shape=(8, 8)), (8, 8)
    calibrator = ConformalCalibrator(0.2, pooling, grid=grid, per_class=per_class, min_scores=1).fit(pairs)
    places = loops.scores_by_place(pairs, grid)
    for row, wanted in enumerate(range(3) if per_class else [None]):
        for region in calibrator.regions[row].unique().tolist():
            inside = calibrator.regions[row] == region
            scores = [
                s for at in inside.nonzero() for s, k in places[tuple(at.tolist())] if wanted in (None, k)
            ]
            expected = loops.quantile(scores, Fraction(1, 5))
            assert calibrator.counts[row][inside].unique().tolist() == [len(scores)]
            assert calibrator.thresholds[row][inside].unique().tolist() == [pytest.approx(expected, abs=1e-6)]


def hard_where(mask, count=60, classes=3, seed=0):
    """Maps that are sure and right, but worse where ``mask`` is set."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for _ in range(count):
        labels = torch.randint(classes, mask.shape, generator=generator)
        of_truth = torch.rand(mask.shape, generator=generator) * 0.1 + torch.where(mask, 0.1, 0.8)
        probs = ((1 - of_truth) / (classes - 1)).unsqueeze(0).repeat(classes, *[1] * mask.ndim)
        pairs.append((probs.scatter(0, labels.unsqueeze(0), of_truth.unsqueeze(0)), labels))
    return pairs


@pytest.mark.parametrize("shape", [(8, 8), (4, 4, 4)])
def test_kmeans_finds_places_that_are_alike_wherever_they_lie(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.3
    regions = ConformalCalibrator(0.1, "kmeans", grid=shape).fit(hard_where(mask)).regions[0]
    assert not set(regions[mask].tolist()) & set(regions[~mask].tolist())
    assert regions[mask].min() > regions[~mask].max()  # in the order of their scores


def test_annuli_find_a_disc():
    y, x = torch.meshgrid(*[torch.arange(24) - 11.5] * 2, indexing="ij")
    disc = y.square() + x.square() < 5**2
    calibrator = ConformalCalibrator(0.1, "genann", grid=(24, 24)).fit(hard_where(disc))
    regions = calibrator.regions[0]
    assert regions.unique().numel() > 1
    inner = (calibrator.thresholds[0] > 0.5) == disc
    assert inner.float().mean() > 0.95
    rings = [(y.square() + x.square()).sqrt()[regions == r].mean() for r in regions.unique()]
    assert rings == sorted(rings)


@pytest.mark.parametrize("pooling", ["kmeans", "genann"])
def test_regions_depend_on_the_seed_alone(pooling):
    pairs = random_pairs(25, shape=(9, 9))
    fits = [ConformalCalibrator(0.2, pooling, grid=(9, 9), seed=s).fit(pairs).regions for s in (1, 1, 2)]
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


def test_a_batch_is_fitted_like_its_images():
    pairs = random_pairs(25)
    batch = torch.stack([p for p, _ in pairs]), torch.stack([y for _, y in pairs])
    fits = [ConformalCalibrator(grid=(6, 5)).fit(*data).state_dict() for data in ((pairs,), batch)]
    assert all(torch.equal(fits[0][name], fits[1][name]) for name in fits[0])
    arrays = ConformalCalibrator(grid=(6, 5)).fit([(p.numpy(), y.numpy().astype(np.uint8)) for p, y in pairs])
    assert torch.equal(arrays.thresholds, fits[0]["thresholds"])


def test_ranks_of_the_paper_s_setting():
    assert conformal_rank(92, 0.05) == 89
    assert conformal_rank(92, 0.01) == 93
    assert conformal_rank(92, 0.05, finite_sample=False) == 88
    pairs = random_pairs(92, shape=(2, 2), void=0)
    scores = torch.stack([1 - p.gather(0, y[None])[0] for p, y in pairs]).sort(0).values
    fits = [ConformalCalibrator(alpha, grid=(2, 2)).fit(pairs) for alpha in (0.05, 0.01)]
    assert torch.equal(fits[0].thresholds[0], scores[88])
    assert fits[1].prediction_sets(torch.rand(1, 3, 2, 2)).all()
    uncorrected = ConformalCalibrator(0.01, grid=(2, 2), finite_sample=False).fit(pairs)
    assert torch.equal(uncorrected.thresholds[0], scores[91])


@pytest.mark.parametrize("alpha", ["0.01", "0.05", "0.07", "0.1", "0.3", "0.9"])
def test_ranks_are_those_of_exact_arithmetic(alpha):
    for count in range(1, 400):
        exact = -((-(count + 1) * (1 - Fraction(alpha))) // 1)
        assert conformal_rank(count, float(alpha)) == exact


@pytest.mark.parametrize("count", [1, 2, 19, 20, 77])
@pytest.mark.parametrize("finite_sample", [True, False])
def test_the_quantile_is_numpy_s(count, finite_sample):
    scores = np.random.default_rng(count).random(count).astype(np.float32)
    value = conformal_quantile(torch.from_numpy(scores), 0.05, finite_sample=finite_sample)
    assert value == loops.quantile(scores, Fraction(1, 20), finite_sample)


def test_coverage_of_exchangeable_images_is_as_promised():
    """Averaged over places: of one place it is beta distributed about the promise."""
    alpha, count, grid, rounds = 0.1, 24, (16, 16), 40
    covered = []
    for seed in range(rounds):
        pairs = random_pairs(count + 1, shape=grid, seed=seed, void=0)
        calibrator = ConformalCalibrator(alpha, grid=grid).fit(pairs[:-1])
        probs, labels = pairs[-1]
        covered.append(
            calibrator.prediction_sets(probs[None])[0].gather(0, labels[None]).float().mean().item()
        )
    promised, deviation = 1 - alpha, (alpha * (1 - alpha) / (rounds * 16 * 16)) ** 0.5
    exact = conformal_rank(count, alpha) / (count + 1)
    assert promised <= exact <= promised + 1 / (count + 1)
    assert np.mean(covered) == pytest.approx(exact, abs=4 * deviation)
    plain = conformal_rank(count, alpha, finite_sample=False) / (count + 1)
    assert plain < promised - 4 * deviation  # so the test would see the correction missing


def test_a_rare_class_that_is_often_missed_is_covered_where_each_class_is():
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(60, 12, 12, generator=generator) < 0.05).long()
    of_truth = (torch.where(labels == 1, 0, 1) + torch.rand(labels.shape, generator=generator)) / 2
    probs = torch.where(labels == 1, 1 - of_truth, of_truth)
    probs = torch.stack([probs, 1 - probs], 1)
    coverage = {}
    for per_class in (False, True):
        calibrator = ConformalCalibrator(0.1, "image", per_class=per_class).fit(probs[:40], labels[:40])
        inside = calibrator.prediction_sets(probs[40:]).gather(1, labels[40:, None])[:, 0]
        coverage[per_class] = [inside[labels[40:] == k].float().mean().item() for k in range(2)]
    assert coverage[True] == [pytest.approx(0.9, abs=0.05)] * 2
    assert coverage[False][1] < 0.8


@pytest.mark.parametrize("pooling", ["pixel", "image", "kmeans", "genann"])
@pytest.mark.parametrize("per_class", [False, True])
def test_a_state_is_plain_tensors_and_loads_into_a_fresh_calibrator(pooling, per_class, tmp_path):
    options = {"pooling": pooling, "grid": (6, 5), "per_class": per_class}
    calibrator = ConformalCalibrator(0.2, **options).fit(random_pairs(25))
    torch.save(calibrator.state_dict(), tmp_path / "calibrator.pt")
    state = torch.load(tmp_path / "calibrator.pt", weights_only=True)
    fresh = ConformalCalibrator(0.2, **options)
    fresh.load_state_dict(state)
    holder = torch.nn.ModuleDict({"inner": ConformalCalibrator(0.2, **options)})
    holder.load_state_dict({f"inner.{name}": value for name, value in state.items()})
    probs = torch.rand(2, 3, 6, 5).softmax(1)
    for other in (fresh, holder["inner"], ConformalCalibrator.from_state_dict(state)):
        assert torch.equal(other.calibrated_labels(probs), calibrator.calibrated_labels(probs))
        assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    for different in ({"alpha": 0.1}, {"seed": 1}, {"finite_sample": False}):
        with pytest.raises(InputError, match="other settings"):
            ConformalCalibrator(**{"alpha": 0.2, **options, **different}).load_state_dict(state)
    with pytest.raises(InputError, match="no state of a calibrator"):
        ConformalCalibrator.from_state_dict({"weight": torch.zeros(3)})


@pytest.mark.parametrize("pooling", ["pixel", "image", "kmeans", "genann"])
def test_few_images_fall_back_and_one_is_enough(pooling):
    pairs = random_pairs(1, shape=(8, 8), void=0)
    calibrator = ConformalCalibrator(0.1, pooling, grid=(8, 8)).fit(pairs)
    whole = loops.quantile(
        [1 - p[y[i]][i].item() for p, y in pairs for i in np.ndindex(8, 8)], Fraction(1, 10)
    )
    fallen = calibrator.counts < 20
    assert int(calibrator.fallbacks) == int(fallen.sum())
    assert fallen.all() == (pooling == "pixel")
    assert calibrator.thresholds[fallen] == pytest.approx(np.full(int(fallen.sum()), whole), abs=1e-6)


@pytest.mark.parametrize("pooling", ["pixel", "image", "kmeans", "genann"])
def test_void_images_and_absent_classes_change_nothing(pooling):
    pairs = random_pairs(25, shape=(8, 8))
    void = (torch.full((3, 8, 8), 1 / 3), torch.full((8, 8), 255))
    options = {"pooling": pooling, "grid": (8, 8)}
    fits = [ConformalCalibrator(0.2, **options).fit(some) for some in (pairs, [void, *pairs, void])]
    assert torch.equal(fits[0].thresholds, fits[1].thresholds)
    assert int(fits[1].images) == 27
    absent = [(torch.cat([p, torch.zeros(1, 8, 8)]), y) for p, y in pairs]
    per_class = ConformalCalibrator(0.2, **options, per_class=True).fit(absent)
    whole = ConformalCalibrator(0.2, "image").fit(random_pairs(25, shape=(8, 8))).thresholds
    assert (per_class.thresholds[3] == whole).all()
    assert per_class.prediction_sets(torch.full((1, 4, 8, 8), 0.25)).shape == (1, 4, 8, 8)


def test_a_single_class_is_always_right():
    calibrator = ConformalCalibrator(grid=(4, 4)).fit([(torch.ones(1, 4, 4), torch.zeros(4, 4))] * 30)
    assert not calibrator.thresholds.any()
    assert not calibrator.calibrated_labels(torch.ones(1, 1, 4, 4)).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0}, "alpha=0: out of range"),
        ({"alpha": 1.0}, "alpha=1.0: out of range"),
        ({"pooling": "pixels"}, "did you mean 'pixel'"),
        ({"min_scores": 0}, "min_scores=0: out of range"),
        ({"grid": ()}, "has no places"),
        ({"pooling": "genann", "grid": (4, 4, 4)}, "none in volumes; use kmeans or image"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ConformalCalibrator(**options)


def test_images_that_cannot_be_calibrated_with_are_refused():
    probs, labels = random_pairs(1, shape=(4, 4), void=0)[0]
    calibrator = ConformalCalibrator(grid=(4, 4))
    with pytest.raises(InputError, match="no quantiles yet"):
        calibrator.prediction_sets(probs[None])
    for pairs, message in (
        ([], "no labelled pixel in 0 images"),
        ([(probs, torch.full((4, 4), 255))] * 2, "no labelled pixel in 2 images"),
        ([(probs, labels), (probs[:2], labels)], "image 1"),
        ([(probs, labels + 3)], "labels must be 0 to 2"),
        ([(probs * 255, labels)], r"image 0: probs must be in \[0, 1\]"),
        ([(probs.log() * torch.inf, labels)], r"probs must be in \[0, 1\]"),
        ([(probs, labels[0])], "must belong together"),
        ([(probs[..., None], labels[..., None])], "has 2 axes, the images have 3; give a grid"),
    ):
        with pytest.raises(ValueError, match=message):
            calibrator.fit(pairs)
    calibrator.fit([(probs, labels)] * 3)
    for wrong in (torch.rand(1, 4, 4, 4), torch.rand(1, 3, 4, 4, 4)):
        with pytest.raises(ValueError, match="probs must"):
            calibrator.prediction_sets(wrong)
    with pytest.raises(InputError, match="background=3: is no class"):
        calibrator.calibrated_labels(probs[None], background=3)


def test_a_set_of_background_alone_is_background():
    sets = torch.tensor([[1, 0], [0, 0], [0, 0]]).bool().T[None].transpose(1, 2)
    assert labels_of_sets(sets, torch.full(sets.shape, 1 / 3)).tolist() == [[0, 255]]
