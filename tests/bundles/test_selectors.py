"""A selector of pseudo-labels, and the views of a method, are set in a config file or on the command line."""

from medssl.inference.checkpoints import load_checkpoint
from medssl.methods import TCSeg
from medssl.reliability import ConfidenceThreshold

from .conftest import TINY, refusal, run, workflow

TRAIN = ["train.yaml", "datasets/phantom.yaml", "methods/tcseg.yaml"]

OWN = """
import torch
from medssl.reliability import ConfidenceThreshold

class Counting(ConfidenceThreshold):
    def __init__(self, threshold):
        super().__init__(threshold)
        self.register_buffer("steps", torch.tensor(0))

    def select(self, views, *, features=None):
        if self.training:
            self.steps += 1
        return super().select(views, features=features)
"""

STRONG = """
from medssl.methods import TCSeg

class Strong(TCSeg):
    views = ("weak", "strong1")
"""


def test_a_selector_is_named_with_its_arguments(phantoms, tmp_path):
    selector = {"_target_": "medssl.reliability.ConfidenceThreshold", "threshold": 0.7}
    flow = workflow(TRAIN, **{**TINY, "dataset_dir": str(phantoms), "selector": selector})
    flow.initialize()
    method = flow.parser.get_parsed_content("method")
    assert isinstance(method, TCSeg)
    assert isinstance(method.selector, ConfidenceThreshold)
    assert method.selector.threshold == 0.7


def test_a_selector_of_ones_own_trains_from_an_overlay_and_is_saved(phantoms, tmp_path, monkeypatch):
    (tmp_path / "counting.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("selector: {_target_: counting.Counting, threshold: 0.6}\n")
    settings = {**TINY, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "run")}
    run([*TRAIN, str(overlay)], **settings)
    assert load_checkpoint(tmp_path / "run" / "last.pt")["method"]["selector.steps"] == TINY["max_steps"]


def test_strong_views_need_a_strong_augmentation(phantoms, tmp_path, monkeypatch):
    (tmp_path / "strong_method.py").write_text(STRONG)
    monkeypatch.syspath_prepend(tmp_path)
    settings = {**TINY, "dataset_dir": str(phantoms), "method_name": "strong_method.Strong"}
    settings["run_dir"] = str(tmp_path / "run")
    assert "view 'strong1': there is no strong augmentation" in refusal(TRAIN, **settings)
    assert not (tmp_path / "run").exists()
    noise = {"_target_": "RandGaussianNoised", "keys": "image", "prob": 1.0, "std": 0.3}
    flow = workflow(TRAIN, **{**settings, "run_dir": str(tmp_path / "again"), "strong_augmentation": noise})
    flow.initialize()
    batch = next(iter(flow.parser.get_parsed_content("train::dataloader")))
    assert list(batch["unlabeled"]) == ["weak", "strong1"]
    assert (batch["unlabeled"]["weak"] != batch["unlabeled"]["strong1"]).any()
