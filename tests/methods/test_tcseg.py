import copy
import functools

import pytest
import torch

from medssl.common import draws
from medssl.common.errors import InputError
from medssl.losses import cross_entropy, dice_loss, negative_loss, positive_loss
from medssl.methods import Batch, SigmoidRamp, TCSeg
from medssl.networks import DualDecoderVNet, Output
from medssl.reliability import ConfidenceThreshold, DualAxis, Selection, Selector

from .conftest import make_batch
from .two_decoders import TwoDecoders

PRESETS = ["reference", "paper"]
LOSS_OF_SPACE = {"probability": "pseudo", "feature": "calibration", "image": "mixing"}
AT_FULL_WEIGHT = {"ramp": SigmoidRamp(1.0, 0), "warmup": 0}


@functools.cache
def _weights(preset):
    """Student and teacher after a few steps on the default batch, so that some voxels are confident."""
    torch.manual_seed(0)
    method = TCSeg(DualDecoderVNet(width=2), preset=preset, **AT_FULL_WEIGHT)
    optimizer = torch.optim.SGD(method.network.parameters(), lr=0.05, momentum=0.9)
    batch = make_batch()
    for step in range(15):
        optimizer.zero_grad()
        method.training_step(batch, step)["loss"].backward()
        optimizer.step()
        method.after_step(step)
    return method.state_dict()


def trained(preset, **options):
    """A method of these options with the weights of :func:`_weights`."""
    method = TCSeg(DualDecoderVNet(width=2), preset=preset, **options)
    method.load_state_dict(_weights(preset))
    return method


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_unlabeled_loss_is_positive_reaches_the_student_and_never_the_teacher(preset, batch):
    method = trained(preset, tau=0.5, **AT_FULL_WEIGHT)
    torch.manual_seed(1)
    parts = method.training_step(batch, 1)
    for name in LOSS_OF_SPACE.values():
        assert parts[name] > 0, name
    assert parts["positive"] > 0
    method.network.zero_grad()
    # The supervised part in `parts` is detached: its gradient is taken off by hand.
    torch.manual_seed(1)
    parts["loss"].backward()
    with_unlabeled = [p.grad.clone() for p in method.network.parameters()]
    assert all(g.isfinite().all() for g in with_unlabeled)
    assert all(p.grad is None for p in method.teacher.parameters())
    method.network.zero_grad()
    alone = TCSeg(method.network, preset=preset, spaces=(), **AT_FULL_WEIGHT)
    torch.manual_seed(1)
    alone.training_step(batch, 1)["loss"].backward()
    differing = sum(
        not torch.allclose(g, p.grad)
        for g, p in zip(with_unlabeled, method.network.parameters(), strict=True)
    )
    assert differing > len(with_unlabeled) / 2


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("space", "name"), LOSS_OF_SPACE.items())
def test_each_space_alone_sends_gradient_to_both_decoders(preset, space, name, batch):
    method = trained(preset, tau=0.5, spaces=(space,), **AT_FULL_WEIGHT)
    parts = method.training_step(batch, 1)
    assert parts[name] > 0
    assert all(parts[other] == 0 for other in {*LOSS_OF_SPACE.values()} - {name})
    grads = torch.autograd.grad(parts["loss"], list(method.network.parameters()), allow_unused=True)
    names = [n for n, _ in method.network.named_parameters()]
    reached = {n.split(".")[0] for n, g in zip(names, grads, strict=True) if g is not None and g.any()}
    assert reached == {"encoder", "decoder1", "decoder2"}


@pytest.mark.parametrize("preset", PRESETS)
def test_total_is_the_weighted_sum_that_the_table_states(preset, batch):
    method = trained(preset, tau=0.5, ramp=SigmoidRamp(0.3, 0), warmup=0)
    parts = method.training_step(batch, 2)
    mixing_weight = 0.5 if preset == "reference" else 0.3
    expected = (
        parts["supervised"] + 0.3 * (parts["pseudo"] + parts["calibration"]) + mixing_weight * parts["mixing"]
    )
    torch.testing.assert_close(parts["loss"].detach(), expected)


@pytest.mark.parametrize(("preset", "share"), [("reference", 0.25), ("paper", 1.0)])
def test_supervised_loss_is_the_sum_over_decoders(preset, share, batch, network):
    method = TCSeg(network, preset=preset).eval()
    with torch.no_grad():
        logits = network(batch.images()).logits
        expected = sum(
            cross_entropy(v[:2], batch.labels) + dice_loss(v[:2].softmax(1), batch.labels) for v in logits
        )
        parts = method.training_step(batch, 0)
    torch.testing.assert_close(parts["supervised"], share * expected)


def test_presets_take_their_published_schedules(network):
    reference, paper = TCSeg(network), TCSeg(network, preset="paper")
    assert reference.ramp(1) == pytest.approx(0.0067, abs=1e-4)
    assert reference.ramp(6000) == 1
    assert paper.ramp(1) == 1
    assert (reference.warmup, paper.warmup) == (100, 0)
    assert (reference.rule.axes.feature_tau, paper.rule.axes.feature_tau) == (0.1, 0.05)
    assert (reference.rule.axes.norm, paper.rule.axes.norm) == ("max", "l1")
    assert (reference.missing_prototype, paper.missing_prototype) == ("zero", "fallback")


def test_mixing_starts_after_the_warm_up(batch, network):
    method = TCSeg(network, warmup=5)
    assert method.training_step(batch, 4)["mixing"] == 0
    assert method.training_step(batch, 5)["mixing"] > 0


def test_the_same_seed_and_step_draw_the_same_regions_whatever_is_switched_off(batch, network):
    unreliable = torch.rand(2, 32, 16, 16) < 0.3
    first = TCSeg(network, seed=3)._draw_regions(unreliable, 7)
    again = TCSeg(network, seed=3, spaces=(), use_uncertainty=False)._draw_regions(unreliable, 7)
    other = TCSeg(network, seed=4)._draw_regions(unreliable, 7)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_every_rank_draws_regions_of_its_own_and_the_first_as_one_process_does(network, monkeypatch):
    method, unreliable = TCSeg(network, seed=3), torch.rand(2, 32, 16, 16) < 0.3
    alone = method._draw_regions(unreliable, 7)
    monkeypatch.setattr(draws, "rank", lambda: 0)
    first = method._draw_regions(unreliable, 7)
    monkeypatch.setattr(draws, "rank", lambda: 1)
    second = method._draw_regions(unreliable, 7)
    for region, of_rank0, of_rank1 in zip(alone, first, second, strict=True):
        assert torch.equal(region, of_rank0)
        assert not torch.equal(region, of_rank1)


def test_boxes_alternate_between_random_and_aimed(network):
    method = TCSeg(network)
    unreliable = torch.zeros(2, 32, 32, 16, dtype=torch.bool)
    unreliable[:, 20:28, 4:12, 4:12] = True
    _, free = method._draw_regions(unreliable, 3)
    _, aimed = method._draw_regions(unreliable, 2)
    assert not torch.equal(free[0], free[1])  # a random centre for each image
    assert aimed[:, 23, 8].all()  # the centre of the unreliable block
    unreliable[1] = False
    _, fallback = method._draw_regions(unreliable, 2)
    assert fallback[1].any()  # one empty region, and both images take random boxes
    assert not torch.equal(fallback[0], aimed[0])


def test_reference_pastes_both_ways_and_paper_one_way(batch, network):
    inputs = []
    network.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach().clone()))
    region = torch.zeros(2, 32, 16, 16, dtype=torch.bool)
    region[:, 4:9] = True
    targets = (torch.zeros(2, 32, 16, 16, dtype=torch.long),) * 2
    labeled, unlabeled = batch.labeled_images[:, 0], batch.unlabeled["weak"][:, 0]
    for preset in PRESETS:
        TCSeg(network, preset=preset)._mixing_loss(batch, targets, region)
        mixed = inputs[-1][:, 0]
        assert torch.equal(mixed[0], torch.where(region[0], unlabeled[0], labeled[0]))
        inside, outside = (unlabeled, labeled) if preset == "paper" else (labeled, unlabeled)
        assert torch.equal(mixed[1], torch.where(region[1], inside[1], outside[1]))


def test_poisoned_hidden_labels_change_nothing(batch):
    """The batch has no place for a label of an unlabelled image; extra label rows must not be read."""
    with pytest.raises(TypeError):
        Batch(batch.labeled_images, batch.labels, batch.unlabeled, unlabeled_labels=batch.labels)
    method = trained("reference", **AT_FULL_WEIGHT)
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        copied = copy.deepcopy(method)
        copied.training_step(batch, 1)["loss"].backward()
        states.append([p.grad for p in copied.network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_tiny_model_overfits_a_tiny_batch(preset, classes):
    batch = make_batch(classes=classes)
    torch.manual_seed(0)
    network = DualDecoderVNet(width=4, num_classes=classes, dropout=0.0)
    method = TCSeg(network, preset=preset, ramp=SigmoidRamp(0.5, 20), warmup=5)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for step in range(30):
        optimizer.zero_grad()
        parts = method.training_step(batch, step)
        parts["loss"].backward()
        optimizer.step()
        method.after_step(step)
        losses.append(parts["supervised"].item())
    assert losses[-1] < 0.5 * losses[0]
    method.eval()
    predicted = method.predict(batch.labeled_images).argmax(1)
    assert (predicted == batch.labels).float().mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_unlabeled_loss_falls_on_a_fixed_batch(preset, batch):
    method = trained(preset, tau=0.5, **AT_FULL_WEIGHT)
    optimizer = torch.optim.Adam(method.network.parameters(), lr=0.01)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        torch.manual_seed(0)
        parts = method.training_step(batch, 1)
        parts["loss"].backward()
        optimizer.step()
        values.append((parts["loss"] - parts["supervised"]).item())
    assert sum(values[-3:]) < 0.9 * sum(values[:3])


def test_ablations_change_the_masks_in_the_right_direction(batch):
    method = trained("reference", tau=0.05)
    shares = {}
    for name, options in {
        "full": {},
        "w/o U": {"use_uncertainty": False},
        "w/o C": {"use_confidence": False},
    }.items():
        ablated = TCSeg(method.network, tau=0.05, **options).eval()
        ablated.teacher.load_state_dict(method.teacher.state_dict())
        with torch.no_grad():
            shares[name] = ablated.training_step(batch, 1)["positive"].item()
    assert shares["full"] <= min(shares["w/o U"], shares["w/o C"])
    assert max(shares.values()) > shares["full"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 3), (3, 1), (1, 1)])
def test_takes_any_division_of_the_batch(preset, labeled, unlabeled, network):
    method = TCSeg(network, preset=preset, **AT_FULL_WEIGHT)
    for step in (0, 1):
        assert method.training_step(make_batch(labeled, unlabeled), step)["loss"].isfinite()


def test_runs_under_bfloat16_autocast_with_float32_losses(batch, network):
    method = TCSeg(network, **AT_FULL_WEIGHT)
    with torch.autocast("cpu", torch.bfloat16):
        parts = method.training_step(batch, 1)
    assert all(v.dtype == torch.float32 for v in parts.values())


def test_step_is_bit_identical_for_the_same_seed(batch):
    grads = []
    for _ in range(2):
        torch.manual_seed(3)
        method = trained("reference", **AT_FULL_WEIGHT)
        method.training_step(batch, 1)["loss"].backward()
        grads.append([p.grad for p in method.network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_predict_is_the_first_decoder(batch, network):
    method = TCSeg(network).eval()
    torch.testing.assert_close(method(batch.images()), network(batch.images()).logits[0])


@pytest.mark.parametrize("preset", PRESETS)
def test_without_feature_space_embeddings_are_not_looked_at(preset, batch):
    """The ablation removes the prototypes, hence also their part in all masks."""
    options = {"tau": 0.5, "tau_min": 0.45, "tau_max": 0.55, **AT_FULL_WEIGHT}
    method = trained(preset, spaces=("probability", "image"), **options).eval()
    with_features = trained(preset, **options).eval()
    output, teacher = method.network(batch.images()), method.teacher(batch.unlabeled["weak"])
    poisoned = [Output(o.logits, tuple(f * float("nan") for f in o.features)) for o in (output, teacher)]
    clean, dirty = method.judge(output, teacher, 2), method.judge(*poisoned, 2)
    assert torch.equal(clean.unreliable, dirty.unreliable)
    assert not clean.unreliable.all()
    assert with_features.judge(*poisoned, 2).unreliable.all()
    for from_clean, from_dirty in zip(clean.selections, dirty.selections, strict=True):
        assert torch.equal(from_clean.mask, from_dirty.mask)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_calibration_loss_alone_can_be_dropped(preset, batch):
    calibrated = trained(preset, tau=0.2, **AT_FULL_WEIGHT).eval()
    uncalibrated = trained(preset, tau=0.2, use_calibration=False, **AT_FULL_WEIGHT).eval()
    with_it, without = calibrated.training_step(batch, 1), uncalibrated.training_step(batch, 1)
    assert with_it["calibration"] > 0 == without["calibration"]
    for name in ("positive", "unreliable", "pseudo", "mixing"):
        assert with_it[name] == without[name], name


@pytest.mark.parametrize("preset", PRESETS)
def test_calibration_is_over_labelled_and_unlabelled_images(preset, batch):
    method = trained(preset, **AT_FULL_WEIGHT).eval()
    views = method._views(method.network(batch.images()))
    parts = method.training_step(batch, 1)
    torch.testing.assert_close(parts["calibration"], method.rule.calibration(views).detach())
    assert abs(parts["calibration"] - method.rule.calibration(views.rows(2)).item()) > 1e-4


def one_decoder_without_foreground(remedy):
    """Outputs in which all decoders agree, and decoder 2 of the teacher is sure of the background alone."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(8) < 4).long().view(1, 8, 1, 1).expand(1, 8, 8, 8)
    logits = (6.0 * torch.nn.functional.one_hot(labels, 2).movedim(-1, 1) - 3).requires_grad_()
    features = torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).float()
    features = features + 0.01 * torch.rand(features.shape, generator=generator)
    unsure = logits.detach().clone()
    unsure[:, 1][labels == 1] = 1.0 - 3  # a probability of 0.73: predicted, and not confident
    unsure[:, 0][labels == 1] = -3.0
    method = TCSeg(DualDecoderVNet(width=2), missing_prototype=remedy, tau=0.4)
    student = Output((logits, logits), (features, features))
    return method, student, Output((logits.detach(), unsure), (features, features)), labels


@pytest.mark.parametrize(("remedy", "believed"), [("zero", False), ("fallback", True), ("exclude", True)])
def test_remedies_of_a_missing_prototype(remedy, believed):
    method, student, teacher, labels = one_decoder_without_foreground(remedy)
    for selection in method.judge(student, teacher, labeled=0).selections:
        assert selection.mask[labels == 0].all()
        assert selection.mask[labels == 1].all() == believed


def test_an_excluded_class_has_no_part_in_the_calibration():
    method, _, teacher, _ = one_decoder_without_foreground("exclude")
    views = method._views(teacher)
    assert views.present[1].tolist() == [[True, False]]
    affinity, probability = views.pairs(1, 1, probability=True)
    assert not affinity[:, 1].any()
    assert not probability[:, 1].any()
    assert probability[:, 0].any()


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"missing_prototype": "exlude"}, "did you mean 'exclude'"),
        ({"preset": "referense"}, "did you mean 'reference'"),
        ({"spaces": ("probabilty",)}, "did you mean 'probability'"),
        ({"tau_min": 0.9}, "tau_min"),
        ({"pseudo_over": "al"}, "did you mean 'all'"),
    ],
)
def test_refuses_wrong_options_in_one_line(wrong, hint, network):
    with pytest.raises(InputError, match=hint) as caught:
        TCSeg(network, **wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_pseudo_labels_are_those_that_a_step_trains_on(preset, batch):
    """In eval mode, where a batch does not change its images' statistics, a step and the accessor agree."""
    method = trained(preset, tau=0.5, **AT_FULL_WEIGHT).eval()
    pseudo = method.pseudo_labels(batch.unlabeled["weak"])
    assert list(pseudo.selections) == ["decoder1", "decoder2"]
    masks = torch.stack([selection.mask for selection in pseudo.selections.values()])
    assert 0 < masks.float().mean() < 1
    assert torch.equal(masks.float().mean(), method.training_step(batch, 1)["positive"])
    p1, p2, t1, t2 = pseudo.views
    sources = (p2, p1) if preset == "reference" else (t2, t1)
    for selection, source in zip(pseudo.selections.values(), sources, strict=True):
        assert torch.equal(selection.labels, source.argmax(1))
        assert not selection.labels.requires_grad
    for view in pseudo.views:
        assert not view.requires_grad
        assert torch.allclose(view.sum(1), torch.ones(()))


@pytest.mark.parametrize("preset", PRESETS)
def test_switches_reach_the_pseudo_labels(preset, batch):
    def share(**options):
        method = trained(preset, **{"tau": 0.2, **AT_FULL_WEIGHT, **options}).eval()
        selections = method.pseudo_labels(batch.unlabeled["weak"]).selections
        return [float(selection.mask.float().mean()) for selection in selections.values()]

    for both, confidence, certainty in zip(
        share(), share(use_uncertainty=False), share(use_confidence=False), strict=True
    ):
        assert both <= min(confidence, certainty)
    assert share(use_uncertainty=False, use_confidence=False) == [1.0, 1.0]
    assert share(spaces=("feature", "image")) == []


def test_the_supervised_method_has_none(batch):
    from medssl.methods import Supervised
    from medssl.networks import VNet

    assert Supervised(VNet(width=2)).pseudo_labels(batch.unlabeled["weak"]) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["ramp of 6000 steps", "warmup=100"]),
        ({"ramp": SigmoidRamp(1.0, 15)}, ["warmup=100"]),
        ({"ramp": SigmoidRamp(1.0, 15), "warmup": 5}, []),
        ({"spaces": ["image"]}, ["warmup=100"]),  # the published code does not ramp the mixing up
        ({"spaces": ["probability"]}, ["ramp of 6000 steps"]),
        ({"spaces": []}, []),
        ({"preset": "paper"}, []),
    ],
)
def test_schedules_longer_than_the_training_are_warned_of(options, expected):
    warnings = TCSeg(DualDecoderVNet(width=2), **options).schedule_warnings(50)
    assert [line.split(":")[0].split(",")[0] for line in warnings] == expected
    assert all("\n" not in line for line in warnings)


class Weighted(Selector):
    """A selector that uses all that a selection can hold."""

    def __init__(self):
        super().__init__()
        self.shown = None

    def select(self, views, *, features=None):
        self.shown = views, features
        mean = torch.stack(list(views)).mean(0)
        top = mean.max(1)
        return Selection(top.indices, top.values > 0.6, weight=top.values, ruled_out=mean < 0.3)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_selector_takes_the_place_of_the_presets_rule(preset, batch):
    selector = Weighted()
    method = trained(preset, selector=selector, **AT_FULL_WEIGHT).eval()
    student, teacher = method.network(batch.images()), method.teacher(batch.unlabeled["weak"])
    judgement = method.judge(student, teacher, labeled=2)
    views, features = selector.shown
    for seen, expected in zip(views, (*student.logits, *teacher.logits), strict=True):
        torch.testing.assert_close(seen, expected[-2:].softmax(1))
    for seen, expected in zip(features, (*student.features, *teacher.features), strict=True):
        assert torch.equal(seen, expected[-2:])
    selection = selector.select(views)
    assert 0 < selection.mask.float().mean() < 1
    for own in range(2):
        assert torch.equal(judgement.selections[own].labels, selection.labels)
        assert torch.equal(judgement.selections[own].mask, selection.mask)
        assert torch.equal(judgement.ruled_out[own], selection.ruled_out)
    assert torch.equal(judgement.unreliable, ~selection.mask)

    parts = method.training_step(batch, 1)
    expected = sum(
        positive_loss(logits[2:], selection.labels, selection.mask, selection.weight)
        + negative_loss(logits[2:].softmax(1), selection.ruled_out)
        for logits in student.logits
    )
    torch.testing.assert_close(parts["pseudo"], expected.detach())
    assert parts["unreliable"] == (~selection.mask).float().mean()
    pseudo = method.pseudo_labels(batch.unlabeled["weak"])
    assert all(torch.equal(s.mask, selection.mask) for s in pseudo.selections.values())
    assert len(pseudo.features) == len(pseudo.views)


def test_a_selector_that_rules_nothing_out_has_no_negative_loss(batch):
    method = trained("reference", selector=ConfidenceThreshold(0.6), **AT_FULL_WEIGHT).eval()
    output = method.network(batch.images())
    judgement = method.judge(output, method.teacher(batch.unlabeled["weak"]), labeled=2)
    assert not torch.stack(judgement.ruled_out).any()
    (selection, _) = judgement.selections
    expected = sum(positive_loss(v[2:], selection.labels, selection.mask) for v in output.logits)
    torch.testing.assert_close(method.training_step(batch, 1)["pseudo"], expected.detach())


def test_without_feature_space_a_selector_is_shown_no_features(batch):
    selector = Weighted()
    trained("reference", selector=selector, spaces=("probability",)).training_step(batch, 1)
    assert selector.shown[1] is None


def test_the_papers_rule_is_the_dual_axis_selector_where_student_and_teacher_agree(batch):
    """With equal outputs the pairs within a model, which the rule compares, are all pairs."""
    options = {"tau": 0.3, "tau_min": 0.4, "tau_max": 0.6}
    method = trained("paper", **options).eval()
    output = method.network(batch.images())
    unlabeled = Output(tuple(v[2:] for v in output.logits), tuple(v[2:] for v in output.features))
    own = method.judge(output, unlabeled, labeled=2)
    chosen = trained("paper", selector=DualAxis(**options)).judge(output, unlabeled, labeled=2)
    assert 0 < chosen.unreliable.float().mean() < 1
    assert torch.equal(own.unreliable, chosen.unreliable)
    for by_rule, by_selector in zip(own.selections, chosen.selections, strict=True):
        assert torch.equal(by_rule.mask, by_selector.mask)
        assert torch.equal(by_rule.labels[by_rule.mask], by_selector.labels[by_rule.mask])
    assert all(
        torch.equal(by_rule, by_selector)
        for by_rule, by_selector in zip(own.ruled_out, chosen.ruled_out, strict=True)
    )
    assert own.ruled_out[0].any()


def test_a_network_without_two_decoders_or_their_features_is_refused_in_one_line(batch):
    class Cut(TwoDecoders):
        def __init__(self, decoders, features):
            super().__init__()
            self.kept = decoders, features

        def forward(self, x):
            output = super().forward(x)
            return Output(output.logits[: self.kept[0]], output.features[: self.kept[1]])

    with pytest.raises(InputError, match=r"1 decoder\(s\), TCSeg needs two"):
        TCSeg(Cut(1, 1)).training_step(batch, 0)
    with pytest.raises(InputError, match="leave 'feature' out of spaces"):
        TCSeg(Cut(2, 0)).training_step(batch, 0)
    assert TCSeg(Cut(2, 0), spaces=("probability", "image")).training_step(batch, 0)["loss"].isfinite()
