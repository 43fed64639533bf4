"""Selectors that look at labelled images are shown them as those see them who judge the unlabelled ones."""

import pytest
import torch

from medssl import methods
from medssl.methods import Batch
from medssl.reliability import ConformalSelector, Selection, Selector

from .conftest import make_batch
from .two_decoders import TwoDecoders

TAKE_SELECTORS = ["fixmatch", "unimatch", "unimatch_v2", "rankmatch", "tcseg"]
JUDGES = {"fixmatch": "student", "unimatch": "student", "unimatch_v2": "teacher", "rankmatch": "student"}


class Watching(Selector):
    """Remembers what it is shown, and in what order."""

    def __init__(self, *, wants_labeled, min_views=1):
        super().__init__()
        self.wants_labeled, self.min_views, self.calls = wants_labeled, min_views, []

    def observe(self, views, labels):
        self.calls.append(("observe", views, labels))

    def select(self, views, *, features=None):
        self.calls.append(("select", views, None))
        labels = views[0].argmax(1)
        return Selection(labels, torch.ones_like(labels, dtype=torch.bool))


def step(name, selector, shape=(16, 16), axes=2):
    torch.manual_seed(0)
    method = methods.get(name)(TwoDecoders(axes), selector=selector).train()
    if method.teacher is not None:  # another network than the student
        with torch.no_grad():
            for parameter in method.teacher.parameters():
                parameter.mul_(0.5)
    batch = make_batch(unlabeled=4 if method.partners else 2, shape=shape)
    batch = Batch(batch.labeled_images, batch.labels, dict.fromkeys(method.views, batch.unlabeled["weak"]))
    losses = method.training_step(batch, 1)
    losses["loss"].backward()
    return method, batch, losses


@pytest.mark.parametrize("name", TAKE_SELECTORS)
def test_labelled_images_are_shown_before_the_choice_that_is_learnt_from(name):
    selector = Watching(wants_labeled=True)
    method, batch, _ = step(name, selector)
    kinds = [kind for kind, _, _ in selector.calls]
    assert kinds.count("observe") == 1
    assert kinds[-2:] == ["observe", "select"]
    views, labels = next((views, labels) for kind, views, labels in selector.calls if kind == "observe")
    assert torch.equal(labels, batch.labels)
    assert not any(view.requires_grad for view in views)
    judged = selector.calls[-1][1]
    assert len(views) == len(judged)
    networks = {"student": method.network, "teacher": method.teacher}
    if name == "tcseg":
        both = [networks["student"], networks["teacher"]]
        expected = [x.softmax(1) for network in both for x in network(batch.labeled_images).logits]
    else:
        expected = [networks[JUDGES[name]](batch.labeled_images).logits[0].softmax(1)]
    for view, wanted in zip(views, expected, strict=True):
        torch.testing.assert_close(view, wanted)


def test_a_selector_of_several_views_sees_student_and_teacher():
    selector = Watching(wants_labeled=True, min_views=2)
    method, batch, _ = step("fixmatch", selector)
    views = selector.calls[-2][1]
    for view, network in zip(views, (method.network, method.teacher), strict=True):
        torch.testing.assert_close(view, network(batch.labeled_images).logits[0].softmax(1))


@pytest.mark.parametrize("name", TAKE_SELECTORS)
def test_showing_labelled_images_changes_no_loss(name):
    losses = [step(name, Watching(wants_labeled=wants))[2] for wants in (False, True)]
    assert all(torch.equal(losses[0][part], losses[1][part]) for part in losses[0])


@pytest.mark.parametrize("name", TAKE_SELECTORS)
@pytest.mark.parametrize(("axes", "shape"), [(2, (16, 16)), (3, (8, 8, 8))])
def test_what_a_selector_observed_is_saved_with_the_method(name, axes, shape):
    method, batch, _ = step(name, ConformalSelector(), shape, axes)
    assert method.state_dict()["selector.histogram"].sum() == batch.labels.numel()
    pseudo = method.pseudo_labels(batch.labeled_images)
    assert method.selector.histogram.sum() == batch.labels.numel()
    assert pseudo.selections
