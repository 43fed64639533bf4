import csv
import logging
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from medssl.common.errors import InputError
from medssl.evaluation.pseudo_labels import PseudoLabelQuality
from medssl.methods import PseudoLabels
from medssl.metrics import selection_quality
from medssl.reliability import AgentScoreSelector, ConfidenceThreshold, Selection, Selector
from medssl.training.checkpointer import Checkpointer
from medssl.training.checkpoints import restore
from tests.training import tiny
from tests.training.test_resume import assert_same


class Pseudo(tiny.Tiny):
    """Two selections of its own; draws dropout and moves running statistics while it is asked."""

    def pseudo_labels(self, images):
        assert self.training
        views = tuple(torch.softmax(net(images), 1) for net in (self.network, self.teacher))
        confident, everything = (
            ConfidenceThreshold(0.6).select(views[:1]),
            ConfidenceThreshold(0.0).select(views),
        )
        return PseudoLabels(views, {"one": confident, "two": everything})


def hidden(count=3):
    return [
        {"case": f"c{i}", "image": case["image"], "label": case["label"]}
        for i, case in enumerate(tiny.make_cases(labeled=count, unlabeled=0))
    ]


def quality(path, cases=None, **options):
    plain = {"preprocessing": lambda item: item, "augmentation": None, "num_classes": 2, "name": "own"}
    options = plain | options
    return PseudoLabelQuality(path, cases=hidden() if cases is None else cases, **options)


def trained(handlers=(), method=None, epochs=tiny.EPOCHS):
    tiny.seed_all(5)
    method = Pseudo(tiny.TinyNet()) if method is None else method
    trainer = tiny.make_trainer(method=method, handlers=list(handlers), max_epochs=epochs)
    trainer.run()
    return trainer


def rows(path):
    with path.open(newline="") as table:
        return list(csv.DictReader(table))


def test_a_training_ends_the_same_with_and_without(tmp_path):
    with_it = trained([quality(tmp_path / "q.csv", selectors={"conf": ConfidenceThreshold(0.9)})])
    without = trained()
    drawn = torch.randn(3)
    states = with_it.method.state_dict(), without.method.state_dict()
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name
    trained([quality(tmp_path / "q.csv")])
    assert torch.equal(torch.randn(3), drawn)


def test_rows_are_what_the_selections_say(tmp_path):
    handler = quality(tmp_path / "q.csv", selectors={"conf": ConfidenceThreshold(0.55)}, batch_size=2)
    trainer = trained([handler], epochs=1)
    table = rows(tmp_path / "q.csv")
    assert [(row["step"], row["selector"], row["class"]) for row in table] == [
        ("4", "own", "all"), ("4", "own", "1"), ("4", "conf", "all"), ("4", "conf", "1"),
    ]  # fmt: skip
    truth = torch.cat([case["label"] for case in hidden()])
    torch.manual_seed(4)
    trainer.method.train()
    images = torch.stack([case["image"] for case in hidden()])
    with torch.no_grad():
        batches = [trainer.method.pseudo_labels(part) for part in (images[:2], images[2:])]
    own = [torch.cat([batch.selections[name].labels for batch in batches]) for name in ("one", "two")]
    masks = [torch.cat([batch.selections[name].mask for batch in batches]) for name in ("one", "two")]
    expected = selection_quality(torch.cat(own), torch.cat(masks), torch.cat([truth, truth]))
    shares = asdict(expected)
    assert int(table[0]["voxels"]) == shares.pop("pixels") == 2 * truth.numel()
    for column, value in shares.items():
        assert table[0][column] == ("" if math.isnan(value) else str(round(value, 6)))
    right = torch.cat(own) == torch.cat([truth, truth])
    assert float(table[0]["ppv_all"]) == pytest.approx(float(right.float().mean()), abs=1e-6)
    assert (table[0]["npv_all"], table[0]["recall_all"]) == ("", "")


def test_intervals_and_cases(tmp_path):
    trained([quality(tmp_path / "q.csv", interval=2, cases=hidden(7), max_cases=3)])
    table = rows(tmp_path / "q.csv")
    assert {row["step"] for row in table} == {"8"}
    assert {int(row["voxels"]) for row in table} == {2 * 3 * 64}


def test_a_method_without_pseudo_labels_and_a_list_without_cases_write_nothing(tmp_path):
    trained([quality(tmp_path / "a.csv")], method=tiny.Tiny(tiny.TinyNet()))
    trained([quality(tmp_path / "b.csv", cases=[])])
    trained([quality(tmp_path / "c.csv", max_cases=0)])
    assert list(tmp_path.iterdir()) == []


def test_a_new_training_forgets_an_old_table_and_a_resumed_one_keeps_its_part(tmp_path):
    path = tmp_path / "q.csv"
    straight = trained([quality(path)])
    expected = path.read_text()
    trained([quality(path)])
    assert path.read_text() == expected
    # A checkpoint of the first epoch beside a table of all three, as a kill in the last save leaves it.
    tiny.seed_all(5)
    trainer = tiny.make_trainer(method=Pseudo(tiny.TinyNet()), max_epochs=1)
    Checkpointer(tmp_path / "run").attach(trainer)
    trainer.run()
    resumed = tiny.make_trainer(method=Pseudo(tiny.TinyNet()), handlers=[quality(path)])
    restore(tmp_path / "run/last.pt", trainer=resumed)
    resumed.run()
    assert path.read_text() == expected
    assert_same(straight.method.state_dict(), resumed.method.state_dict())


def test_a_label_that_cannot_be_read_is_left_out_with_a_warning(tmp_path, caplog):
    def preprocessing(item):
        if item["case"] == "c1":
            raise InputError("c1.nii.gz", "is truncated", "restore it")
        return item

    with caplog.at_level(logging.WARNING):
        trained([quality(tmp_path / "q.csv", preprocessing=preprocessing)], epochs=1)
    assert {int(row["voxels"]) for row in rows(tmp_path / "q.csv")} == {2 * 2 * 64}
    assert "left out of the pseudo-labels' quality: c1.nii.gz: is truncated" in caplog.text

    def broken(item):
        raise RuntimeError("a fault of the program")

    with pytest.raises(RuntimeError, match="fault of the program"):
        trained([quality(tmp_path / "q.csv", preprocessing=broken)], epochs=1)


def test_arguments_out_of_range():
    for name in ("interval", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            quality("q.csv", **{name: 0})


def test_any_selector_can_be_compared():
    class Every(Selector):
        def select(self, views, *, features=None):
            labels = views[0].argmax(1)
            return Selection(labels, torch.ones_like(labels, dtype=torch.bool))

    handler = quality("q.csv", selectors={"every": Every()})
    trainer = trained(epochs=1)
    counts = handler.measure(trainer)
    assert counts["every"].compute().coverage == 1
    assert np.isnan(counts["every"].compute().npv)


def test_a_selector_is_shown_the_features_of_the_views():
    class ByFeature(Selector):
        def select(self, views, *, features=None):
            labels = views[0].argmax(1)
            return Selection(labels, features[0][:, 0] > 0)

    class WithFeatures(Pseudo):
        def pseudo_labels(self, images):
            pseudo = super().pseudo_labels(images)
            return PseudoLabels(pseudo.views, pseudo.selections, features=(images, images))

    trainer = trained(epochs=1, method=WithFeatures(tiny.TinyNet()))
    counts = quality("q.csv", selectors={"sign": ByFeature()}).measure(trainer)
    positive = np.mean([float((case["image"] > 0).float().mean()) for case in hidden()])
    assert counts["sign"].compute().coverage == pytest.approx(positive)


class Shown(Pseudo):
    """Hands over what the network sees as embeddings."""

    def pseudo_labels(self, images):
        pseudo = super().pseudo_labels(images)
        features = torch.cat([images, 1 - images, images.square()], 1)
        return PseudoLabels(pseudo.views, pseudo.selections, features=(features, features))


def test_agent_scores_are_judged_beside_others_and_say_how_far_their_groups_are_apart(tmp_path):
    agent = AgentScoreSelector(4, 8, budget=0.3)
    selectors = {"agent": agent, "conf": ConfidenceThreshold(0.9)}
    trained([quality(tmp_path / "q.csv", selectors=selectors)], method=Shown(tiny.TinyNet()))
    table = rows(tmp_path / "q.csv")
    assert {row["selector"] for row in table} == {"own", "agent", "conf"}
    for row in table:
        said = row["selector"] == "agent" and row["class"] == "all"
        assert bool(row["separation"]) == bool(row["fallback"]) == said
    own = [row for row in table if row["selector"] == "agent" and row["class"] == "all"]
    assert all(float(row["separation"]) > 0 and float(row["fallback"]) in (0, 0.5, 1) for row in own)
    assert any(0 < float(row["coverage"]) < 1 for row in own)
    assert agent.training
    assert int(agent.selections) == 0  # it was asked and has learnt nothing
    trained([quality(tmp_path / "p.csv", selectors={"conf": ConfidenceThreshold(0.9)})])
    assert "separation" not in rows(tmp_path / "p.csv")[0]


def test_a_selector_that_lacks_features_is_left_out_with_one_warning(tmp_path, caplog):
    selectors = {"agent": AgentScoreSelector(), "conf": ConfidenceThreshold(0.9)}
    with caplog.at_level(logging.WARNING):
        trained([quality(tmp_path / "q.csv", selectors=selectors)])
    assert {row["selector"] for row in rows(tmp_path / "q.csv")} == {"own", "conf"}
    warnings = [line for line in caplog.messages if "left out" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("selector agent is left out of the pseudo-labels' quality: AgentScore")


@pytest.mark.parametrize("padded", [True, False])
def test_padding_of_images_is_shown_to_selectors_and_ignored_labels_judge_nothing(padded):
    seen = []

    class Sees(Selector):
        wants_valid = True

        def select(self, views, *, features=None, valid=None):
            seen.append(valid)
            labels = views[0].argmax(1)
            return Selection(labels, torch.ones_like(labels, dtype=torch.bool))

    cases = hidden()
    for case in cases:
        case["image"], case["label"] = case["image"].clone(), case["label"].clone()
        case["label"][..., 0] = 255
        case["image"][..., 0] = 0 if padded else 0.5
        case["image"][..., 1] = 0  # black, and labelled
    counts = quality("q.csv", cases=cases, selectors={"sees": Sees()}).measure(trained(epochs=1))
    pixels = sum(int((case["label"] != 255).sum()) for case in cases)
    assert counts["sees"].compute().pixels == pixels
    assert counts["sees"].compute().coverage == 1
    if not padded:
        assert seen == [None, None]
        return
    valid = torch.cat(seen)
    assert not valid[..., 0].any()
    assert valid[..., 1:].all()
