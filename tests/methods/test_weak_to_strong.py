"""What FixMatch, UniMatch, UniMatch V2 and RankMatch have in common."""

import copy

import pytest
import torch

from medssl import methods
from medssl.common.precision import autocast
from medssl.methods import Batch, Method
from medssl.networks import DualDecoderVNet, VNet
from medssl.reliability import ConfidenceThreshold, Selection, Selector

from .image_network import ImageNetwork, image_network, view_batch
from .test_fixmatch import gradients
from .two_decoders import TwoDecoders

NAMES = ["fixmatch", "unimatch", "unimatch_v2", "rankmatch"]
BY_STUDENT = ["fixmatch", "unimatch", "rankmatch"]


def volumes(method, seed=0):
    return view_batch(method, shape=(32, 16, 16), classes=2, padded=False, seed=seed)


class Recording(Selector):
    """Believes everything, and remembers what it was shown."""

    wants_valid = True

    def __init__(self, min_views=1, features_from="features"):
        super().__init__()
        self.min_views, self.features_from, self.seen = min_views, features_from, []

    def select(self, views, *, features=None, valid=None):
        self.seen.append((views, features, valid))
        labels = views[0].argmax(1)
        return Selection(labels, torch.ones_like(labels, dtype=torch.bool))


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_model_overfits_a_tiny_batch(name):
    method = methods.get(name)(image_network(), threshold=0.7).train()
    batch = view_batch(method, shape=(16, 16), padded=False)
    optimizer = torch.optim.Adam(method.network.parameters(), lr=0.02)
    history = []
    for step in range(120):
        optimizer.zero_grad()
        losses = method.training_step(batch, step)
        losses["loss"].backward()
        optimizer.step()
        method.after_step(step)
        history.append({part: value.item() for part, value in losses.items()})
    first, last = history[0], history[-1]
    assert last["supervised"] < 0.3 * first["supervised"]
    assert last["selected"] > 0.5
    peak = {part: max(h[part] for h in history) for part in first}
    assert all(last[part] < 0.6 * peak[part] for part in ("strong", "feature") if part in first)
    known = batch.labels != 255
    predicted = method.eval()(batch.labeled_images).argmax(1)
    assert (predicted == batch.labels)[known].float().mean() > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_unselected_pixels_may_hold_anything(name):
    """A classifier of single pixels, so that no pixel looks at its neighbours."""

    def classifier():
        torch.manual_seed(0)
        network = TwoDecoders(axes=2, classes=3)
        network.hidden = torch.nn.ModuleList(torch.nn.Conv2d(1, 6, 1) for _ in range(2))
        return network

    class TopRows(ConfidenceThreshold):
        def select(self, views, *, features=None):
            mask = torch.zeros_like(views[0][:, 0], dtype=torch.bool)
            mask[:, :6] = True
            return Selection(views[0].argmax(1), mask)

    losses, grads = [], []
    for poison in (0.0, 1e3):
        network = classifier()
        method = methods.get(name)(network, selector=TopRows(), cutmix=1.0).train()
        batch = view_batch(method, shape=(16, 16))
        batch.valid[1, :2] = False
        out = torch.zeros_like(batch.valid)
        out[:, 6:] = True
        for images in batch.unlabeled.values():
            images[(out | ~batch.valid).unsqueeze(1)] += poison
        batch.labeled_images[(batch.labels == 255).unsqueeze(1)] += poison
        if name == "rankmatch":
            method.weights = {**method.weights, "rank": 0.0}  # it looks at all places, as published
        step = method.training_step(batch, 0)
        step["loss"].backward()
        losses.append(step)
        grads.append(gradients(network))
    for part in set(losses[0]) - {"rank"}:
        torch.testing.assert_close(losses[0][part], losses[1][part])
    torch.testing.assert_close(grads[0], grads[1])
    assert losses[0]["strong"] > 0


def trained(name, steps, seed=0, state=None, start=0):
    """A method after some steps with dropout and normalisation, and what a checkpoint would hold."""
    torch.manual_seed(0)
    method: Method = methods.get(name)(VNet(width=2), threshold=0.5, seed=seed).train()
    optimizer = torch.optim.SGD(method.network.parameters(), lr=0.05, momentum=0.9)
    if state is not None:
        method.load_state_dict(state[0])
        optimizer.load_state_dict(state[1])
        torch.set_rng_state(state[2])
    losses = []
    for step in range(start, steps):
        optimizer.zero_grad()
        entries = method.training_step(volumes(method, seed=step), step)
        entries["loss"].backward()
        optimizer.step()
        method.after_step(step)
        losses.append(entries["loss"].item())
    return losses, copy.deepcopy((method.state_dict(), optimizer.state_dict(), torch.get_rng_state()))


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_the_same_bits_also_when_resumed(name):
    losses, state = trained(name, 4)
    first, half = trained(name, 2)
    second, end = trained(name, 4, state=half, start=2)
    assert first + second == losses
    assert all(torch.equal(a, b) for a, b in zip(state[0].values(), end[0].values(), strict=True))
    assert trained(name, 2, seed=1)[0] != first


@pytest.mark.parametrize("name", NAMES)
def test_volumes_train_the_first_of_two_decoders(name):
    torch.manual_seed(0)
    network = DualDecoderVNet(width=2)
    method = methods.get(name)(network, threshold=0.0).train()
    losses = method.training_step(volumes(method), 0)
    losses["loss"].backward()
    assert all(value.isfinite() for value in losses.values())
    assert network.decoder1.classifier.weight.grad.any()
    assert network.encoder.stages[0][0][0].weight.grad.any()
    assert not any(p.grad is not None and p.grad.any() for p in network.decoder2.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_lower_precision_changes_little_and_every_weight_still_learns(name):
    results = []
    for precision in ("off", "bf16"):
        method = methods.get(name)(image_network(), threshold=0.0).train()
        with autocast(torch.device("cpu"), precision):
            losses = method.training_step(view_batch(method, shape=(33, 33)), 0)
        losses["loss"].backward()
        assert losses["loss"].dtype == torch.float32
        # A pass without gradient comes first: autocast must not hand its weights to the next one.
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.network.parameters())
        results.append((losses["loss"], gradients(method.network)))
    (loss, exact), (low, rounded) = results
    assert abs(low - loss) < 0.02
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_a_selector_of_two_views_sees_student_and_teacher_of_the_weak_views(name):
    selector = Recording(min_views=2)
    method = methods.get(name)(image_network(), selector=selector).train()
    batch = view_batch(method)
    with torch.no_grad():
        for p in method.teacher.parameters():
            p.mul_(1.5)
    teacher = copy.deepcopy(method.teacher.network)
    method.training_step(batch, 0)
    assert not teacher.training
    assert len(selector.seen) == (2 if method.partners else 1)
    for (views, features, valid), rows in zip(selector.seen, (slice(2, 4), slice(2)), strict=False):
        rows = rows if method.partners else slice(None)
        expected = teacher(batch.unlabeled["weak"][rows])
        assert len(views) == len(features) == 2
        torch.testing.assert_close(views[1], expected.logits[0].softmax(1))
        torch.testing.assert_close(features[1], expected.features[0])
        assert torch.equal(valid, batch.valid[rows])
        assert not torch.equal(views[0], views[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_selector_sees_unmixed_weak_views_and_the_embeddings_it_asks_for(name):
    selector = Recording(features_from="context")
    method = methods.get(name)(image_network(), selector=selector, cutmix=1.0).train()
    batch = view_batch(method)
    for view in method.views[1:]:
        batch.unlabeled[view].fill_(1e3)
    losses = method.training_step(batch, 0)
    assert losses["selected"] == 1  # all that is image
    for views, features, _ in selector.seen:
        assert len(views) == len(features) == 1
        assert features[0].shape[1] == 8
        assert not views[0].requires_grad
        assert not features[0].requires_grad
    if method.teacher is None:
        student = image_network().eval()(batch.unlabeled["weak"][2:])
        torch.testing.assert_close(selector.seen[0][0][0], student.logits[0].softmax(1))
    else:
        teacher = image_network().eval()(batch.unlabeled["weak"])
        torch.testing.assert_close(selector.seen[0][0][0], teacher.logits[0].softmax(1))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_without_context_gives_none(name):
    selector = Recording(features_from="context")
    torch.manual_seed(0)
    method = methods.get(name)(TwoDecoders(axes=2, classes=3), selector=selector).train()
    method.training_step(view_batch(method, shape=(16, 16)), 0)
    assert all(features is None for _, features, _ in selector.seen)


@pytest.mark.parametrize("name", NAMES)
def test_pseudo_labels_are_those_of_whoever_teaches(name):
    method = methods.get(name)(ImageNetwork(), threshold=0.4).train()
    images = torch.randn(2, 1, 17, 17)
    pseudo = method.pseudo_labels(images)
    selection = pseudo.selections["student"]
    assert len(pseudo.views) == 1
    assert torch.equal(selection.labels, pseudo.views[0].argmax(1))
    assert torch.equal(selection.mask, pseudo.views[0].amax(1) >= 0.4)
    assert not pseudo.views[0].requires_grad
    judge = method.network if name in BY_STUDENT else method.teacher.network
    torch.testing.assert_close(pseudo.views[0], judge(images).logits[0].softmax(1))
    torch.testing.assert_close(pseudo.features[0], judge(images).features[0])
    valid = torch.rand(2, 17, 17) > 0.5
    assert not (method.pseudo_labels(images, valid=valid).selections["student"].mask & ~valid).any()
    two = methods.get(name)(ImageNetwork(), selector=Recording(min_views=2)).pseudo_labels(images)
    assert len(two.views) == len(two.features) == 2


@pytest.mark.parametrize("name", NAMES)
def test_views_and_partners_are_what_the_loader_is_asked_for(name):
    method = methods.get(name)(ImageNetwork())
    assert method.wants_valid
    assert method.partners == (name != "unimatch_v2")
    assert len(method.views) == (2 if name == "fixmatch" else 3)
    if name != "unimatch_v2":
        flipped = methods.get(name)(ImageNetwork(), partner="flipped")
        assert not flipped.partners
        assert flipped.training_step(view_batch(flipped), 0)["loss"].isfinite()


def test_no_state_of_the_student_is_moved_by_the_look_at_partners():
    """The running statistics are those of the two passes that learn."""
    method = methods.FixMatch(image_network()).train()
    batch = view_batch(method, padded=False)
    other = {view: images.clone() for view, images in batch.unlabeled.items()}
    other["weak"][2:] += 100
    buffers = []
    for views in (batch.unlabeled, other):
        again = methods.FixMatch(image_network()).train()
        again.training_step(Batch(batch.labeled_images, batch.labels, views), 0)
        buffers.append([b.clone() for b in again.network.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*buffers, strict=True))
