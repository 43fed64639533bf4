"""Against medpy and MONAI, on random, thin, touching and empty masks."""

import numpy as np
import pytest
import torch
from medpy.metric import binary as medpy
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage

from medssl import metrics
from medssl.metrics.table import CLASS_METRICS


def scores(pred, ref, spacing=1.0, *, label=1, tolerance=1.0):
    """All metrics of one class, from one pair of masks."""
    masks = metrics.MaskPair(pred, ref, spacing, label=label)
    scored = metrics.ScoredClass(masks, tolerance, {})
    return {metric.name: metric.measure(scored) for metric in CLASS_METRICS}


def blob(rng, shape, threshold=0.0):
    return ndimage.gaussian_filter(rng.standard_normal(shape), 2) > threshold


def pair(seed, shape=(20, 17, 12)):
    rng = np.random.default_rng(seed)
    return blob(rng, shape), blob(rng, shape)


def special(name):
    a, b = np.zeros((12, 10, 8), bool), np.zeros((12, 10, 8), bool)
    if name == "one voxel each":
        a[2, 3, 4] = b[9, 1, 7] = True
    elif name == "touching the border":
        a[:4], b[2:6, :, :3] = True, True
    elif name == "thin plates":
        a[5], b[:, 4] = True, True
    elif name == "identical":
        a[3:7, 2:5, 1:6] = b[3:7, 2:5, 1:6] = True
    elif name == "whole volume":
        a[:], b[4:8, 4:8, 2:5] = True, True
    return a, b


SPECIAL = ["one voxel each", "touching the border", "thin plates", "identical", "whole volume"]
CASES = [pair(s) for s in range(6)] + [pair(s, (25, 31)) for s in range(3)] + [special(n) for n in SPECIAL]


@pytest.mark.parametrize(("pred", "ref"), CASES)
@pytest.mark.parametrize("anisotropic", [False, True])
def test_equals_medpy(pred, ref, anisotropic):
    spacing = (0.7, 1.3, 2.5)[: pred.ndim] if anisotropic else (1.0,) * pred.ndim
    assert metrics.dice(pred, ref) == pytest.approx(medpy.dc(pred, ref), abs=1e-9)
    assert metrics.jaccard(pred, ref) == pytest.approx(medpy.jc(pred, ref), abs=1e-9)
    assert metrics.hausdorff95(pred, ref, spacing) == pytest.approx(medpy.hd95(pred, ref, spacing), abs=1e-6)
    for a, b in ((pred, ref), (ref, pred)):
        asd = metrics.average_surface_distance(a, b, spacing)
        assert asd == pytest.approx(medpy.asd(a, b, spacing), abs=1e-6)
    assd = metrics.average_symmetric_surface_distance(pred, ref, spacing)
    assert assd == pytest.approx(medpy.assd(pred, ref, spacing), abs=1e-6)


@pytest.mark.parametrize(("pred", "ref"), CASES[:6])
def test_equals_monai_where_definitions_agree(pred, ref):
    spacing = (0.7, 1.3, 2.5)
    one_hot = [torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (pred, ref)]
    kwargs = {"include_background": False, "spacing": spacing}
    assert metrics.dice(pred, ref) == pytest.approx(compute_dice(*one_hot, include_background=False).item())
    directed = compute_hausdorff_distance(*one_hot, percentile=95, **kwargs).item()
    assert metrics.hausdorff95_directed_max(pred, ref, spacing) == pytest.approx(directed, rel=1e-5)
    symmetric = compute_average_surface_distance(*one_hot, symmetric=True, **kwargs).item()
    assert metrics.average_symmetric_surface_distance(pred, ref, spacing) == pytest.approx(
        symmetric, rel=1e-5
    )
    nsd = compute_surface_dice(*one_hot, class_thresholds=[1.5], **kwargs).item()
    assert metrics.surface_dice(pred, ref, spacing, 1.5) == pytest.approx(nsd, rel=1e-5)


def test_pooled_and_directed_percentiles_differ_where_one_side_reaches_further():
    pred, ref = np.zeros((40, 6, 6), bool), np.zeros((40, 6, 6), bool)
    pred[:12], ref[:34] = True, True
    pooled, directed = metrics.hausdorff95(pred, ref, 1.0), metrics.hausdorff95_directed_max(pred, ref, 1.0)
    assert pooled < directed
    assert pooled == pytest.approx(medpy.hd95(pred, ref))


@pytest.mark.parametrize("seed", range(3))
def test_one_pass_gives_what_the_single_functions_give(seed):
    pred, ref = pair(seed)
    expected = {
        "dice": metrics.dice(pred, ref),
        "jaccard": metrics.jaccard(pred, ref),
        "hausdorff95": metrics.hausdorff95(pred, ref, 1.5),
        "asd": metrics.average_surface_distance(pred, ref, 1.5),
        "assd": metrics.average_symmetric_surface_distance(pred, ref, 1.5),
        "nsd": metrics.surface_dice(pred, ref, 1.5, 2),
    }
    assert expected.items() <= scores(pred, ref, 1.5, tolerance=2).items()
    assert metrics.MaskPair(pred, ref).empty == "none"


def test_classes_are_scored_one_by_one():
    rng = np.random.default_rng(0)
    pred, ref = (rng.integers(0, 4, (9, 8, 7)) for _ in range(2))
    for label in range(4):
        assert scores(pred, ref, label=label) == scores(pred == label, ref == label)


@pytest.mark.parametrize(
    ("empty", "share", "distance"), [("prediction", 0, 13), ("reference", 0, 13), ("both", 1, 0)]
)
def test_empty_masks_count_as_the_policy_says(empty, share, distance):
    """A volume of 3 x 4 x 12 mm has a diagonal of 13 mm."""
    masks = [np.zeros((3, 2, 4), np.uint8), np.zeros((3, 2, 4), np.uint8)]
    if empty != "both":
        masks[1 if empty == "prediction" else 0][1] = 1
    assert metrics.MaskPair(*masks, (1, 2, 3)).empty == empty
    values = scores(*masks, (1, 2, 3))
    for metric in CLASS_METRICS:
        error = distance if metric.unit == "distance" else 1 - share
        assert values[metric.name] == (error if metric.lower_is_better else share), metric.name
    assert metrics.hausdorff95(*masks, (1, 2, 3)) == distance
    assert metrics.hausdorff95_directed_max(*masks, (1, 2, 3)) == distance
    assert metrics.average_surface_distance(*masks, (1, 2, 3)) == distance


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool, "tensor", "strided"])
def test_takes_arrays_and_tensors_of_any_kind(kind):
    pred, ref = pair(0)
    expected = scores(pred, ref)
    if kind == "tensor":
        masks = [torch.from_numpy(m).long() for m in (pred, ref)]
    elif kind == "strided":
        masks = [np.asfortranarray(np.repeat(m, 2, axis=1))[:, ::2] for m in (pred, ref)]
    else:
        masks = [m.astype(kind) for m in (pred, ref)]
    assert scores(*masks) == expected


def test_refuses_what_makes_no_sense():
    pred, ref = pair(0)
    with pytest.raises(ValueError, match=r"\(20, 17, 12\) and \(19, 17, 12\)"):
        metrics.dice(pred, ref[1:])
    for spacing in (0, (1, 2), (1, -1, 1), float("nan")):
        with pytest.raises(ValueError, match="spacing"):
            metrics.hausdorff95(pred, ref, spacing)
    with pytest.raises(ValueError, match="tolerance"):
        metrics.surface_dice(pred, ref, 1.0, -1)


def test_predictions_in_unlabelled_voxels_do_not_count():
    pred = np.array([[1, 1, 1, 0], [0, 0, 1, 1]])
    ref = np.array([[1, 1, 255, 0], [0, 0, 255, 1]])
    assert metrics.dice(pred, ref) == 1
    assert metrics.jaccard(pred, ref) == 1
    assert scores(pred, ref)["hausdorff95"] == 0
    assert metrics.MaskPair(pred, np.where(ref == 1, 255, ref)).empty == "both"
    with pytest.raises(ValueError, match="nobody labelled"):
        metrics.dice(pred, ref, 255)
