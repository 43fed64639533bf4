"""Every method with every selector, in 2D and in 3D."""

import functools
import importlib
import inspect
import pkgutil

import pytest
import torch

from medssl import methods
from medssl.common.errors import InputError
from medssl.methods import Batch
from medssl.reliability import AgentScoreSelector, Selection, Selector, selectors

from .conftest import make_batch
from .two_decoders import TwoDecoders

SHAPES = {2: (16, 16), 3: (8, 8, 8)}


def all_selectors():
    """The concrete classes of every file in ``medssl.reliability.selectors``."""
    files = [
        importlib.import_module(f"{selectors.__name__}.{m.name}")
        for m in pkgutil.iter_modules(selectors.__path__)
    ]
    classes = {entry for file in files for entry in vars(file).values() if isinstance(entry, type)}
    concrete = [c for c in classes if issubclass(c, Selector) and not inspect.isabstract(c)]
    return sorted(concrete, key=lambda c: c.__name__)


def takes_selector(name):
    return "selector" in inspect.signature(methods.get(name)).parameters


SELECTORS = all_selectors()
CROSSINGS = [
    pytest.param(name, selector, id=f"{name}-{selector.__name__ if selector else 'own'}")
    for name in methods.names()
    for selector in (None, *(SELECTORS if takes_selector(name) else ()))
]


OPTIONS = {
    "allspark": {"module": False},
    "conformal_self_training": {"total_steps": 2, "switch": 0.5},
}
"""Options without which a method cannot be made; of one with stages those in which step 1 is its own.
AllSpark's module: tests/methods/test_allspark.py."""


class Nothing(Selector):
    """Believes nothing."""

    def select(self, views, *, features=None):
        labels = views[0].argmax(1)
        return Selection(labels, torch.zeros_like(labels, dtype=torch.bool))


@functools.cache
def weights(axes):
    """Of a network that is sure of most voxels."""
    torch.manual_seed(0)
    network, batch = TwoDecoders(axes), make_batch(shape=SHAPES[axes])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        logits = network(batch.labeled_images).logits
        sum(torch.nn.functional.cross_entropy(v, batch.labels) for v in logits).backward()
        optimizer.step()
    return network.state_dict()


def step(name, axes, **options):
    """The method after one step on a fixed batch, its losses, and the gradient at the unlabelled images."""
    network = TwoDecoders(axes)
    network.load_state_dict(weights(axes))
    torch.manual_seed(1)
    method = methods.get(name)(network, **OPTIONS.get(name, {}), **options).train()
    batch = make_batch(unlabeled=4 if method.partners else 2, shape=SHAPES[axes], seed=1)
    images = [view for view in method.views if view != "annotation"]
    unlabeled = {view: batch.unlabeled["weak"].clone().requires_grad_() for view in images}
    shown = unlabeled | {"annotation": torch.zeros_like(batch.unlabeled["weak"][:, 0]).long()}
    losses = method.training_step(Batch(batch.labeled_images, batch.labels, shown), 1)
    losses["loss"].backward()
    learnt = [view for view in images if view != "weak"] or images
    return method, losses, [unlabeled[view].grad for view in learnt]


def gradients(method):
    grads = [p.grad for p in method.network.parameters() if p.grad is not None]
    return torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize("axes", SHAPES)
@pytest.mark.parametrize(("name", "selector"), CROSSINGS)
def test_the_unlabelled_loss_is_finite_and_reaches_the_student_and_never_the_teacher(name, selector, axes):
    options = {"selector": selector()} if selector else {}
    method, losses, at_unlabeled = step(name, axes, **options)
    assert all(value.isfinite() for value in losses.values())
    assert all(not value.requires_grad for part, value in losses.items() if part != "loss")
    assert gradients(method).isfinite().all()
    assert gradients(method).any()
    assert bool(at_unlabeled) == bool(method.views)
    assert all(grad.isfinite().all() and grad.any() for grad in at_unlabeled)
    if method.teacher is not None:
        assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    if takes_selector(name):
        without = step(name, axes, selector=Nothing())[0]
        assert not torch.equal(gradients(method), gradients(without))
        assert torch.equal(gradients(without), gradients(step(name, axes, selector=Nothing())[0]))


def test_there_is_something_to_cross():
    assert len(SELECTORS) >= 2
    assert any(takes_selector(name) for name in methods.names())


@pytest.mark.parametrize("axes", SHAPES)
def test_a_method_that_shows_no_features_is_refused_by_a_selector_that_needs_them(axes):
    with pytest.raises(InputError, match=r"AgentScoreSelector: .*no embeddings before the classifier; train"):
        step("tcseg", axes, selector=AgentScoreSelector(), spaces=("probability", "image"))
