"""The reference preset against numbers that the published training step gave for the same network outputs."""

import json

import numpy as np
import pytest
import torch

from medssl.methods import Batch, TCSeg
from medssl.networks import DualDecoderVNet, Output
from tests.places import REAL

GOLDEN = REAL / "golden"
NAMES = ("trained", "trained_box", "missing_prototype", "untrained")

pytestmark = pytest.mark.real("data/golden")


class Answers(torch.nn.Module):
    """Stands for a network: gives recorded outputs in order, and keeps what it was asked."""

    def __init__(self, *outputs):
        super().__init__()
        self.outputs, self.inputs = list(outputs), []

    def forward(self, images):
        self.inputs.append(images)
        return self.outputs.pop(0)


class Case:
    def __init__(self, name):
        with np.load(GOLDEN / f"tcseg_{name}.npz") as arrays:
            self.arrays = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        self.scalars = json.loads((GOLDEN / f"tcseg_{name}.json").read_text())
        self.logits = [v.clone().requires_grad_() for v in self["student_logits"]]
        self.features = [v.clone().requires_grad_() for v in self["student_features"]]
        self.student = Output(tuple(self.logits), tuple(self.features))
        self.teacher = Output(tuple(self["teacher_logits"]), tuple(self["teacher_features"]))
        self.method = TCSeg(DualDecoderVNet(width=2))

    def __getitem__(self, key):
        return self.arrays[key]


@pytest.fixture(params=NAMES)
def case(request):
    return Case(request.param)


def test_masks_and_pseudo_labels_are_equal_voxel_for_voxel(case):
    judgement = case.method.judge(case.student, case.teacher, labeled=2)
    for learner, (selection, ruled_out) in enumerate(
        zip(judgement.selections, judgement.ruled_out, strict=True)
    ):
        assert torch.equal(selection.mask, case["positive"][learner])
        assert torch.equal(ruled_out.any(1), case["negative"][learner])
        assert torch.equal(selection.labels, case["pseudo_labels"][learner].long())
    assert torch.equal(judgement.unreliable, case["unreliable"])


def test_affinities_are_equal_to_rounding(case):
    for output, name in ((case.student, "student"), (case.teacher, "teacher")):
        affinities = torch.stack(case.method._views(output).q)
        torch.testing.assert_close(affinities, case[f"{name}_affinities"], rtol=0, atol=1e-6)


def test_mixed_images_losses_and_gradients_are_equal_to_rounding(case, monkeypatch):
    images, labels, box = case["images"], case["labels"], case["box"]
    mixed = Output(tuple(case["mixed_logits"]), ())
    network = Answers(case.student, mixed)
    monkeypatch.setattr(case.method, "network", network)
    monkeypatch.setattr(case.method, "teacher", Answers(case.teacher))
    monkeypatch.setattr(case.method, "_draw_regions", lambda unreliable, step: (unreliable, box))
    parts = case.method.training_step(
        Batch(images[:2], labels, {"weak": images[2:]}), step=case.scalars["iteration"] - 1
    )
    assert torch.equal(network.inputs[1], case["mixed_images"])
    for name in ("loss", "mixing", "ramp"):
        assert parts[name].item() == pytest.approx(case.scalars[name], rel=1e-6), name
    for name in ("supervised", "pseudo", "calibration"):
        assert parts[name].item() == pytest.approx(sum(case.scalars[name]), rel=2e-6), name
    parts["loss"].backward()
    for tensors, name in ((case.logits, "grad_logits"), (case.features, "grad_features")):
        for tensor, expected in zip(tensors, case[name], strict=True):
            difference = (tensor.grad - expected).norm() / expected.norm()
            assert difference < 1e-6


def test_a_missing_prototype_blocks_foreground_only_as_published():
    """With the remedies the same outputs give foreground pseudo-labels."""
    case = Case("missing_prototype")
    foreground = {}
    for remedy in ("zero", "fallback", "exclude"):
        method = TCSeg(DualDecoderVNet(width=2), missing_prototype=remedy)
        selections = method.judge(case.student, case.teacher, labeled=2).selections
        foreground[remedy] = sum(int((s.mask & (s.labels == 1)).sum()) for s in selections)
    assert foreground["zero"] == 0
    assert min(foreground["fallback"], foreground["exclude"]) > 0
