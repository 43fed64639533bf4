import copy

import pytest
import torch
from torch.nn import functional as F

from medssl import methods
from medssl.common.errors import InputError
from medssl.common.precision import autocast
from medssl.methods import AllSpark, Batch
from medssl.networks import AllSparkNetwork, VNet
from medssl.reliability import (
    AgentScoreSelector,
    ConfidenceThreshold,
    ConformalSelector,
    DualAxis,
    Selection,
    Selector,
)

from .image_network import ImageNetwork, image_network, view_batch
from .plain_weak_to_strong import labeled_loss
from .test_fixmatch import gradients
from .two_decoders import TwoDecoders

SHAPE = (16, 24)


def spark(seed=0, shape=SHAPE, dropout=0.0):
    network = image_network(seed)
    return AllSparkNetwork(network, 3, patch_size=shape, in_channels=1, dropout=dropout)


def batch_for(method, shape=SHAPE, annotation=None, **options):
    batch = view_batch(method, shape=shape, padded=False, **options)
    views = {"weak": batch.unlabeled["weak"]}
    return Batch(
        batch.labeled_images,
        batch.labels,
        views if annotation is None else views | {"annotation": annotation},
        batch.valid,
    )


def plain_step(network, batch, *, recall):
    """AllSpark once more, image by image, from the parts of the module that are tested by themselves."""
    weak, rows = batch.unlabeled["weak"], len(batch.labels)
    network.eval()
    with torch.no_grad():
        judged = torch.cat([network(image[None]).logits[0] for image in weak])
    network.train()
    fine, coarse = network.network.encode(torch.cat([batch.labeled_images, weak]))
    module, memory = network.attention, network.memory
    entered, tokens = module.enter(coarse)
    small = F.interpolate(judged, coarse.shape[2:], mode="bilinear", align_corners=False).flatten(2)
    for image, maps in zip(tokens[rows:].detach(), small, strict=True):
        for channel in image.T:
            k = int(torch.stack([F.cosine_similarity(channel, m, dim=0) for m in maps]).argmax())
            memory.queue[k, memory.ends[k]] = channel
            memory.ends[k] = (memory.ends[k] + 1) % len(image.T)
    others = memory.queue.clone().mT if recall else tokens[rows:]
    gained = [module.labeled(image[None], others) for image in tokens[:rows]]
    gained += [module.unlabeled(image[None]) for image in tokens[rows:]]
    rebuilt = module.leave(entered, torch.cat(gained), coarse.shape[2:])
    logits = network.network.decode((fine, rebuilt), weak.shape[2:]).logits[0]
    supervised = labeled_loss(logits[:rows], batch.labels)
    return (supervised + F.cross_entropy(logits[rows:], judged.argmax(1))) / 2


@pytest.mark.parametrize("step", [2, 3])
def test_loss_gradient_and_memory_equal_the_plain_step(step):
    network, again = spark(), spark()
    method = AllSpark(network, warmup=3).train()
    batch = batch_for(method, labeled=2, unlabeled=3)
    losses = method.training_step(batch, step)
    losses["loss"].backward()
    expected = plain_step(again, batch, recall=step >= 3)
    expected.backward()
    torch.testing.assert_close(losses["loss"], expected)
    torch.testing.assert_close(gradients(network), gradients(again), rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(network.buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert losses["loss"].item() == pytest.approx((losses["supervised"] + losses["pseudo"]).item() / 2)
    assert losses["selected"] == 1
    assert network.training


def test_the_memory_begins_to_count_after_the_warmup():
    losses = []
    for step in (4, 5):
        for fill in (None, 3.0):
            network = spark()
            if fill is not None:
                network.memory.queue.fill_(fill)
            method = AllSpark(network, warmup=5).train()
            losses.append(method.training_step(batch_for(method), step)["supervised"])
    assert losses[0] == losses[1]
    assert losses[2] != losses[3]
    assert losses[0] != losses[2]


def test_the_baseline_is_the_same_step_without_the_module():
    network, again = image_network(), image_network()
    method = AllSpark(network, module=False).train()
    batch = batch_for(method)
    loss = method.training_step(batch, 0)["loss"]
    with torch.no_grad():
        labels = again.eval()(batch.unlabeled["weak"]).logits[0].argmax(1)
    logits = again.train()(batch.images()).logits[0]
    rows = len(batch.labels)
    expected = (labeled_loss(logits[:rows], batch.labels) + F.cross_entropy(logits[rows:], labels)) / 2
    torch.testing.assert_close(loss, expected)


def test_labelled_images_are_strong_and_unlabelled_ones_weak():
    method = AllSpark(spark())
    assert method.labeled_view.startswith("strong")
    assert method.views == ("weak",)
    assert not method.wants_valid
    assert AllSpark(spark(), ignore_padding=True).wants_valid


def test_padding_counts_unless_it_is_to_be_ignored():
    for ignored in (False, True):
        method = AllSpark(image_network(), module=False, ignore_padding=ignored)
        batch = batch_for(method)
        valid = torch.ones_like(batch.unlabeled["weak"][:, 0], dtype=torch.bool)
        valid[:, :4] = False
        entries = method.training_step(
            Batch(batch.labeled_images, batch.labels, batch.unlabeled, valid if ignored else None), 0
        )
        assert entries["selected"] == (0.75 if ignored else 1)
        again = image_network()
        with torch.no_grad():
            labels = again.eval()(batch.unlabeled["weak"]).logits[0].argmax(1)
        logits = again.train()(batch.images()).logits[0][len(batch.labels) :]
        costs = F.cross_entropy(logits, labels, reduction="none")
        expected = costs[valid].mean() if ignored else costs.mean()
        torch.testing.assert_close(entries["pseudo"], expected.detach())


class Nothing(Selector):
    def select(self, views, *, features=None):
        labels = views[0].argmax(1)
        return Selection(labels, torch.zeros_like(labels, dtype=torch.bool))


SELECTORS = {
    "conformal": ConformalSelector,
    "confidence": lambda: ConfidenceThreshold(0.5),
    "dual axis": DualAxis,
    "agent score": lambda: AgentScoreSelector(num_positive=4, num_negative=8),
}


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("axes", [2, 3])
def test_any_selector_chooses_in_two_and_three_dimensions(axes, name):
    shape = SHAPE if axes == 2 else (32, 16, 16)

    def step(selector):
        torch.manual_seed(0)
        plain = ImageNetwork() if axes == 2 else VNet(width=2, num_classes=3)
        network = AllSparkNetwork(plain, 3, patch_size=shape, in_channels=1)
        method = AllSpark(network, selector=selector).train()
        batch = batch_for(method, shape)
        weak = batch.unlabeled["weak"].requires_grad_()
        entries = method.training_step(batch, 0)
        entries["loss"].backward()
        return method, entries, weak.grad

    method, entries, grad = step(SELECTORS[name]())
    assert all(value.isfinite() for value in entries.values())
    assert gradients(method.network).isfinite().all()
    assert grad.any()
    assert (method.teacher is None) == (method.selector.min_views < 2)
    if method.teacher is not None:
        assert all(p.grad is None for p in method.teacher.parameters())
    _, none, _ = step(Nothing())
    assert none["pseudo"] == 0
    assert none["selected"] == 0


def test_a_selector_sees_the_evaluated_weak_view():
    network = spark()
    method = AllSpark(network, selector=ConfidenceThreshold(0.4), ignore_padding=True).train()
    images = batch_for(method).unlabeled["weak"]
    valid = torch.rand(images[:, 0].shape) > 0.5
    before = copy.deepcopy(network.state_dict())
    pseudo = method.pseudo_labels(images, valid=valid)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network.training
    probs = network.eval()(images).logits[0].softmax(1)
    torch.testing.assert_close(pseudo.views[0], probs.detach())
    assert torch.equal(pseudo.selections["student"].mask, (probs.amax(1) >= 0.4) & valid)


def test_labelled_images_are_shown_as_the_weak_ones_are_judged():
    class Watching(Nothing):
        wants_labeled = True

        def observe(self, views, labels):
            self.seen = views, labels

    network = spark()
    method = AllSpark(network, selector=Watching()).train()
    batch = batch_for(method)
    with torch.no_grad():
        expected = copy.deepcopy(network).eval()(batch.labeled_images).logits[0].softmax(1)
    method.training_step(batch, 0)
    (view,), labels = method.selector.seen
    torch.testing.assert_close(view, expected)
    assert torch.equal(labels, batch.labels)


def annotation_for(batch):
    labels = torch.randint(0, 3, batch.unlabeled["weak"][:, 0].shape)
    labels[:, 4:10] = 255
    return labels


@pytest.mark.parametrize("module", [True, False])
def test_an_annotator_teaches_in_the_first_stage_and_is_not_asked_in_the_second(module):
    def step(number, changed=False, annotated=True):
        network = spark() if module else image_network()
        options = {"annotated": True, "total_steps": 8, "switch": 0.5} if annotated else {}
        method = AllSpark(network, module=module, **options).train()
        torch.manual_seed(0)
        batch = batch_for(method)
        annotation = annotation_for(batch)
        kept = annotation != 255
        assert method.views == (("weak", "annotation") if annotated else ("weak",))
        if changed:
            annotation = (annotation + 1).where(kept, 255) % 256
            annotation[kept] %= 3
        batch = Batch(
            batch.labeled_images, batch.labels, batch.unlabeled | {"annotation": annotation}, batch.valid
        )
        return method.training_step(batch, number), batch, method

    first, batch, method = step(3)
    assert first["selected"] == pytest.approx(10 / 16)
    assert first["pseudo"] != step(3, changed=True)[0]["pseudo"]
    assert first["loss"].item() == pytest.approx((first["supervised"] + first["pseudo"]).item() / 2)
    if not module:
        logits = image_network().train()(batch.images()).logits[0][len(batch.labels) :]
        expected = F.cross_entropy(logits, batch.unlabeled["annotation"], ignore_index=255)
        torch.testing.assert_close(first["pseudo"], expected.detach())
    second, own = step(6)[0], step(6, annotated=False)[0]
    assert second["pseudo"] == step(6, changed=True)[0]["pseudo"] == own["pseudo"]
    share = method.reliance.weight(6)
    assert 0 < share < 0.5
    assert second["loss"].item() == pytest.approx(
        ((1 - share) * second["supervised"] + share * second["pseudo"]).item()
    )


def test_pseudo_labels_are_those_of_the_stage():
    method = AllSpark(spark(), annotated=True, total_steps=4, switch=0.5).train()
    batch = batch_for(method)
    annotation = annotation_for(batch)
    batch = batch_for(method, annotation=annotation)
    images = batch.unlabeled["weak"]
    for step in range(3):
        pseudo = method.pseudo_labels(images, annotation=annotation).selections["student"]
        assert pseudo.mask.all() == (step == 2)
        if step < 2:
            assert torch.equal(pseudo.mask, annotation != 255)
            assert torch.equal(pseudo.labels[pseudo.mask], annotation[annotation != 255])
        method.training_step(batch, step)
    assert method.pseudo_labels(images).selections["student"].mask.all()
    with pytest.raises(ValueError, match="annotation must be given in the first stage"):
        AllSpark(spark(), annotated=True, total_steps=4).pseudo_labels(images)


def test_an_annotation_of_nothing_teaches_nothing():
    method = AllSpark(spark(), annotated=True, total_steps=10).train()
    nothing = torch.full((2, *SHAPE), 255)
    entries = method.training_step(batch_for(method, annotation=nothing), 0)
    assert entries["pseudo"] == 0
    assert entries["loss"].isfinite()


@pytest.mark.parametrize("annotated", [False, True])
def test_a_tiny_model_overfits_a_tiny_batch(annotated):
    options = {"annotated": True, "total_steps": 100} if annotated else {}
    method = AllSpark(spark(dropout=0.1), warmup=30, **options).train()
    batch = batch_for(method)
    if annotated:
        brightest = batch.unlabeled["weak"][:, 0].round().clamp(0, 2).long()
        batch = batch_for(method, annotation=brightest)
    optimizer = torch.optim.Adam(method.network.parameters(), lr=0.01)
    history = []
    for step in range(100):
        optimizer.zero_grad()
        entries = method.training_step(batch, step)
        entries["loss"].backward()
        optimizer.step()
        history.append({part: value.item() for part, value in entries.items()})
    assert history[-1]["supervised"] < 0.4 * history[0]["supervised"]
    assert history[-1]["pseudo"] < 0.6 * max(entry["pseudo"] for entry in history)
    known = batch.labels != 255
    predicted = method.eval()(batch.labeled_images).argmax(1)
    assert (predicted == batch.labels)[known].float().mean() > 0.75


def trained(steps, state=None, start=0, seed=0):
    torch.manual_seed(seed)
    method = AllSpark(spark(dropout=0.1), warmup=2).train()
    optimizer = torch.optim.SGD(method.network.parameters(), lr=0.05, momentum=0.9)
    if state is not None:
        method.load_state_dict(state[0])
        optimizer.load_state_dict(state[1])
        torch.set_rng_state(state[2])
    losses = []
    for step in range(start, steps):
        optimizer.zero_grad()
        entries = method.training_step(batch_for(method, seed=step), step)
        entries["loss"].backward()
        optimizer.step()
        method.after_step(step)
        losses.append(entries["loss"].item())
    return losses, copy.deepcopy((method.state_dict(), optimizer.state_dict(), torch.get_rng_state()))


@pytest.mark.parametrize("cut", [1, 3])
def test_one_seed_gives_the_same_bits_also_when_resumed_before_and_after_the_warmup(cut):
    losses, state = trained(5)
    first, half = trained(cut)
    second, end = trained(5, state=half, start=cut)
    assert first + second == losses
    assert "network.memory.queue" in state[0]
    assert all(torch.equal(a, b) for a, b in zip(state[0].values(), end[0].values(), strict=True))


def test_lower_precision_changes_little_and_every_weight_still_learns():
    results = []
    for precision in ("off", "bf16"):
        method = AllSpark(spark()).train()
        batch = batch_for(method)
        with autocast(torch.device("cpu"), precision):
            entries = method.training_step(batch, 0)
        entries["loss"].backward()
        assert entries["loss"].dtype == torch.float32
        assert method.network.memory.queue.dtype == torch.float32
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.network.parameters())
        results.append(entries["supervised"])
    assert abs(results[0] - results[1]) < 0.03


def test_a_schedule_that_does_not_fit_the_training_is_told():
    method = AllSpark(spark(), warmup=6, annotated=True, total_steps=100)
    assert method.schedule_warnings(100) == []
    memory, stages = method.schedule_warnings(5)
    assert memory.startswith("warmup of 6 steps: labelled images never look at the memory in 5 steps")
    assert stages.startswith("total_steps=100: ")
    assert AllSpark(TwoDecoders(), module=False, warmup=6).schedule_warnings(5) == []


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "network ImageNetwork: is without AllSpark's module; wrap it"),
        ({"module": False, "warmup": -1}, "warmup=-1: out of range"),
        ({"module": False, "annotated": True}, "annotated: needs the length of the training"),
        ({"module": False, "annotated": True, "total_steps": 9, "switch": 2.0}, r"switch=2\.0"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, fault):
    with pytest.raises(InputError, match=fault) as refused:
        AllSpark(ImageNetwork(), **options)
    assert "\n" not in str(refused.value)


def test_a_baseline_with_the_module_is_refused():
    with pytest.raises(InputError, match="module=False: the network has AllSpark's module"):
        methods.create("allspark", spark(), {"module": False})
