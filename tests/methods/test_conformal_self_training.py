"""ConformalSAM's two stages, against loops over pixels."""

import copy
import math

import pytest
import torch

from medssl.common.errors import InputError
from medssl.methods import Batch, ConformalSelfTraining
from medssl.networks import DualDecoderVNet, VNet
from medssl.reliability import ConfidenceThreshold, Selection, Selector

from .image_network import image_network, view_batch
from .test_fixmatch import gradients
from .two_decoders import TwoDecoders

STAGES = {"I": 0, "II": 8}
STEPS = 10


def annotated(method, *, believed=0.7, **options):
    """A batch whose annotator is mostly right, and believed in places."""
    views = method.views
    method.views = tuple(view for view in views if view != "annotation")
    batch = view_batch(method, **options)
    method.views = views
    rng = torch.Generator().manual_seed(9)
    ids = batch.unlabeled["weak"][:, 0].round().clamp(0, options.get("classes", 3) - 1).long()
    ids[torch.rand(ids.shape, generator=rng) > believed] = 255
    return Batch(batch.labeled_images, batch.labels, {**batch.unlabeled, "annotation": ids}, batch.valid)


def method_of(network, **options):
    return ConformalSelfTraining(network, **{"total_steps": STEPS, **options}).train()


def mean_cross_entropy(logits, labels, counted):
    """By loops over pixels: the sum over those with a label, divided by ``counted``."""
    total = torch.zeros(())
    for row in range(len(labels)):
        for place in torch.cartesian_prod(*map(torch.arange, labels.shape[1:])).tolist():
            label = int(labels[(row, *place)])
            if label != 255:
                pixel = logits[(row, slice(None), *place)]
                total = total - (pixel[label] - pixel.exp().sum().log())
    return total / max(counted, 1)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_loss_and_gradient_equal_the_plain_step(stage, padded):
    network, again = image_network(), image_network()
    threshold = 0.36
    method = method_of(network, selector=ConfidenceThreshold(threshold))
    batch = annotated(method, shape=(9, 10), padded=padded)
    losses = method.training_step(batch, STAGES[stage])
    losses["loss"].backward()

    logits = again(torch.cat([batch.labeled_images, batch.unlabeled["weak"]])).logits[0]
    valid = torch.ones_like(batch.unlabeled["annotation"], dtype=torch.bool)
    valid = valid if batch.valid is None else batch.valid
    supervised = mean_cross_entropy(logits[:2], batch.labels, int((batch.labels != 255).sum()))
    if stage == "I":
        labels = batch.unlabeled["annotation"].clone()
        labels[~valid] = 255
        expected = supervised + mean_cross_entropy(logits[2:], labels, int((labels != 255).sum()))
    else:
        probs = logits[2:].detach().softmax(1)
        labels = probs.argmax(1)
        labels[(probs.amax(1) < threshold) | ~valid] = 255
        weight = 0.5 * math.exp(-5 * 0 / 2)
        unlabeled = mean_cross_entropy(logits[2:], labels, int(valid.sum()))
        expected = (1 - weight) * supervised + weight * unlabeled
    expected.backward()
    selected = ((labels != 255) & valid).sum() / valid.sum()
    assert 0.02 < losses["selected"] < 0.98
    torch.testing.assert_close(losses["selected"], selected)
    torch.testing.assert_close(losses["loss"], expected)
    torch.testing.assert_close(gradients(network), gradients(again), rtol=1e-4, atol=1e-6)


def test_the_weights_of_the_two_stages():
    method = method_of(image_network(), annotator_weight=0.3)
    batch = annotated(method)
    weights = [method.training_step(batch, step)["unlabeled_weight"].item() for step in range(STEPS)]
    assert weights[:8] == pytest.approx([0.3] * 8)
    assert weights[8:] == pytest.approx([0.5, 0.5 * math.exp(-2.5)])


@pytest.mark.parametrize("stage", STAGES)
def test_the_annotator_teaches_in_stage_one_alone(stage):
    network = image_network()
    method = method_of(network)
    batch = annotated(method)
    loss = method.training_step(batch, STAGES[stage])["loss"]
    batch.unlabeled["annotation"].fill_(0)
    changed = method_of(image_network()).training_step(batch, STAGES[stage])["loss"]
    assert torch.equal(loss, changed) == (stage == "II")


def test_nothing_believed_leaves_the_labelled_images():
    method = method_of(image_network())
    batch = annotated(method, believed=0.0)
    losses = method.training_step(batch, 0)
    assert losses["unlabeled"] == losses["selected"] == 0
    torch.testing.assert_close(losses["loss"].detach(), losses["supervised"])


@pytest.mark.parametrize("stage", STAGES)
def test_padding_and_ignored_pixels_may_hold_anything(stage):
    def classifier():
        torch.manual_seed(0)
        network = TwoDecoders(axes=2, classes=3)
        network.hidden = torch.nn.ModuleList(torch.nn.Conv2d(1, 6, 1) for _ in range(2))
        return network

    class TopRows(Selector):
        def select(self, views, *, features=None):
            mask = torch.zeros_like(views[0][:, 0], dtype=torch.bool)
            mask[:, :6] = True
            return Selection(views[0].argmax(1), mask)

    results = []
    for poison in (0.0, 1e3):
        network = classifier()
        method = method_of(network, selector=TopRows())
        batch = annotated(method, shape=(16, 16))
        batch.unlabeled["annotation"][:, 6:] = 255
        out = ~batch.valid | (batch.unlabeled["annotation"] == 255)
        if stage == "II":
            out[:, :6] = ~batch.valid[:, :6]
        batch.unlabeled["weak"][out.unsqueeze(1)] += poison
        batch.labeled_images[(batch.labels == 255).unsqueeze(1)] += poison
        losses = method.training_step(batch, STAGES[stage])
        losses["loss"].backward()
        results.append((losses, gradients(network)))
    (first, grad), (second, poisoned) = results
    assert first["unlabeled"] > 0
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(grad, poisoned)


@pytest.mark.parametrize("switch", [1.0, 0.3])
def test_a_tiny_model_overfits_a_tiny_batch(switch):
    method = method_of(image_network(), total_steps=100, switch=switch)
    batch = annotated(method, shape=(16, 16), padded=False)
    optimizer = torch.optim.Adam(method.network.parameters(), lr=0.02)
    history = []
    for step in range(100):
        optimizer.zero_grad()
        losses = method.training_step(batch, step)
        losses["loss"].backward()
        optimizer.step()
        history.append({part: value.item() for part, value in losses.items()})
    assert history[-1]["supervised"] < 0.4 * history[0]["supervised"]
    assert history[-1]["unlabeled"] < 0.5 * history[0]["unlabeled"]


@pytest.mark.parametrize("stage", STAGES)
def test_volumes_train_the_first_of_two_decoders(stage):
    torch.manual_seed(0)
    network = DualDecoderVNet(width=2)
    method = method_of(network)
    batch = annotated(method, shape=(32, 16, 16), classes=2, padded=False)
    losses = method.training_step(batch, STAGES[stage])
    losses["loss"].backward()
    assert all(value.isfinite() for value in losses.values())
    assert network.decoder1.classifier.weight.grad.any()
    assert network.encoder.stages[0][0][0].weight.grad.any()
    assert not any(p.grad is not None and p.grad.any() for p in network.decoder2.parameters())


def trained(steps, state=None, start=0):
    """A method after some steps with dropout and normalisation, and what a checkpoint would hold."""
    torch.manual_seed(0)
    method = method_of(VNet(width=2), total_steps=4, switch=0.5)
    optimizer = torch.optim.SGD(method.network.parameters(), lr=0.05, momentum=0.9)
    if state is not None:
        method.load_state_dict(state[0])
        optimizer.load_state_dict(state[1])
        torch.set_rng_state(state[2])
    losses = []
    for step in range(start, steps):
        optimizer.zero_grad()
        batch = annotated(method, shape=(32, 16, 16), classes=2, padded=False, seed=step)
        entries = method.training_step(batch, step)
        entries["loss"].backward()
        optimizer.step()
        method.after_step(step)
        losses.append(entries["loss"].item())
    return losses, copy.deepcopy((method.state_dict(), optimizer.state_dict(), torch.get_rng_state()))


@pytest.mark.parametrize("cut", [1, 3])
def test_one_seed_gives_the_same_bits_also_when_resumed_in_either_stage(cut):
    losses, state = trained(4)
    first, half = trained(cut)
    second, end = trained(4, state=half, start=cut)
    assert first + second == losses
    assert all(torch.equal(a, b) for a, b in zip(state[0].values(), end[0].values(), strict=True))


@pytest.mark.parametrize("stage", STAGES)
def test_a_strong_view_learns_what_the_weak_one_says(stage):
    network = image_network()
    method = method_of(network, strong=True)
    assert method.views == ("weak", "strong1", "annotation")
    batch = annotated(method, padded=False)
    evaluated = image_network().eval()(batch.unlabeled["weak"]).logits[0].argmax(1)
    losses = method.training_step(batch, STAGES[stage])
    assert network.training
    logits = image_network()(torch.cat([batch.labeled_images, batch.unlabeled["strong1"]])).logits[0][2:]
    labels = batch.unlabeled["annotation"] if stage == "I" else evaluated
    expected = torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(losses["unlabeled"], expected.detach())


@pytest.mark.parametrize("stage", STAGES)
def test_pseudo_labels_are_those_of_the_stage(stage):
    method = method_of(image_network(), selector=ConfidenceThreshold(0.36))
    batch = annotated(method)
    images, annotation = batch.unlabeled["weak"], batch.unlabeled["annotation"]
    method.training_step(batch, STAGES[stage])
    pseudo = method.pseudo_labels(images, valid=batch.valid, annotation=annotation)
    chosen, probs = pseudo.selections["student"], pseudo.views[0]
    assert not probs.requires_grad
    assert not (chosen.mask & ~batch.valid).any()
    believed = annotation != 255 if stage == "I" else probs.amax(1) >= 0.36
    assert torch.equal(chosen.mask, believed & batch.valid)
    labels = annotation if stage == "I" else probs.argmax(1)
    assert torch.equal(chosen.labels[chosen.mask], labels[chosen.mask])
    assert chosen.labels.max() < 3  # class ids at every pixel
    if stage == "I":
        with pytest.raises(ValueError, match="annotation"):
            method.pseudo_labels(images)


def test_at_the_switch_the_pseudo_labels_are_those_of_the_next_step():
    method = method_of(image_network())
    batch = annotated(method)
    method.training_step(batch, 7)
    method.pseudo_labels(batch.unlabeled["weak"])


def test_a_selector_of_two_views_sees_an_averaged_teacher():
    class Both(Selector):
        min_views = 2

        def select(self, views, *, features=None):
            self.seen = views
            return Selection(views[1].argmax(1), torch.ones_like(views[0][:, 0], dtype=torch.bool))

    method = method_of(image_network(), selector=Both())
    batch = annotated(method)
    teacher = copy.deepcopy(method.teacher.network)
    method.training_step(batch, 8)
    expected = teacher(batch.unlabeled["weak"]).logits[0].softmax(1)
    torch.testing.assert_close(method.selector.seen[1], expected)
    assert len(method.selector.seen) == 2


@pytest.mark.parametrize("stage", STAGES)
def test_a_selector_that_wants_labelled_images_sees_them_in_both_stages(stage):
    class Watching(ConfidenceThreshold):
        wants_labeled = True

        def observe(self, views, labels):
            self.seen = views, labels

    method = method_of(image_network(), selector=Watching(0.0))
    batch = annotated(method)
    method.training_step(batch, STAGES[stage])
    views, labels = method.selector.seen
    probs = image_network()(batch.images()).logits[0].softmax(1)[:2]
    torch.testing.assert_close(views, (probs.detach(),))
    assert not views[0].requires_grad
    assert torch.equal(labels, batch.labels)


def test_a_criterion_of_ones_own_is_for_labelled_images():
    method = method_of(image_network(), criterion=lambda logits, labels: logits.sum() * 0 + 7.0)
    losses = method.training_step(annotated(method), 0)
    assert losses["supervised"] == 7
    assert 0 < losses["unlabeled"] < 7


def test_stages_of_another_length_are_warned_of():
    method = method_of(image_network())
    assert method.schedule_warnings(STEPS) == []
    assert "stages of a training of 10 steps, and this one has 400" in method.schedule_warnings(400)[0]


def test_wrong_options_are_refused():
    with pytest.raises(InputError, match="switch=2"):
        method_of(TwoDecoders(), switch=2)
    with pytest.raises(ValueError, match="annotator_weight"):
        method_of(TwoDecoders(), annotator_weight=-1)
