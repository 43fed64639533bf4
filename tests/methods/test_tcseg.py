import copy

import pytest
import torch

from medssl.common import draws
from medssl.common.errors import InputError
from medssl.losses import cross_entropy, dice_loss
from medssl.methods import Batch, SigmoidRamp, TCSeg
from medssl.networks import DualDecoderVNet, Output

from .conftest import make_batch
from .trained_tcseg import AT_FULL_WEIGHT, PRESETS, trained

LOSS_OF_SPACE = {"probability": "pseudo", "feature": "calibration", "image": "mixing"}


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
