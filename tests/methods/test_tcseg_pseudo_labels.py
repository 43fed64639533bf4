"""What TCSeg believes: by its preset's rule, or by any selector."""

import pytest
import torch

from medssl.common.errors import InputError
from medssl.losses import negative_loss, positive_loss
from medssl.methods import Supervised, TCSeg
from medssl.networks import Output, VNet
from medssl.reliability import ConfidenceThreshold, DualAxis, Selection, Selector

from .trained_tcseg import AT_FULL_WEIGHT, PRESETS, trained
from .two_decoders import TwoDecoders


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
    assert Supervised(VNet(width=2)).pseudo_labels(batch.unlabeled["weak"]) is None


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


def test_a_selector_of_coarser_embeddings_is_refused():
    selector = Weighted()
    selector.features_from = "context"
    with pytest.raises(InputError, match="selector Weighted: TCSeg shows no coarser embeddings"):
        trained("reference", selector=selector)


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

    with pytest.raises(InputError, match="has 1 decoder, TCSeg compares two"):
        TCSeg(Cut(1, 1)).training_step(batch, 0)
    with pytest.raises(InputError, match="leave 'feature' out of spaces"):
        TCSeg(Cut(2, 0)).training_step(batch, 0)
    assert TCSeg(Cut(2, 0), spaces=("probability", "image")).training_step(batch, 0)["loss"].isfinite()
