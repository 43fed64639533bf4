"""AllSpark trains, resumes and predicts with the bundle of images."""

import pytest
import torch
from ignite.engine import Events

from medssl.inference import load_run, predict
from medssl.inference.checkpoints import load_checkpoint

from .conftest import TINY_IMAGES, refusal, run, workflow

FILES = ["train.yaml", "datasets/shapes.yaml", "methods/allspark.yaml"]


def settings_of(shapes, folder, **more):
    # Labelled images look at the batch in the first two steps of four, and at the memory in the others.
    return {**TINY_IMAGES, "dataset_dir": str(shapes), "run_dir": str(folder), "warmup_share": 0.5, **more}


def test_a_training_that_is_resumed_ends_with_the_same_bits_and_predicts_any_size(shapes, tmp_path):
    run(FILES, **settings_of(shapes, tmp_path / "whole"))
    cut = settings_of(shapes, tmp_path / "cut")
    flow = workflow(FILES, **cut)
    flow.initialize()
    trainer = flow.parser.get_parsed_content("train::trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())
    flow.run()
    assert load_checkpoint(tmp_path / "cut" / "last.pt")["progress"]["step"] == 2
    run(FILES, **{**cut, "resume": True})
    whole, resumed = (load_checkpoint(tmp_path / f / "last.pt") for f in ("whole", "cut"))
    assert all(torch.equal(whole["method"][key], resumed["method"][key]) for key in whole["method"])
    assert set(whole["network"]) - set(whole["deployed"]) == {"memory.queue", "memory.ends"}
    network = load_run(tmp_path / "whole").deployment.networks[0]
    assert torch.equal(network.memory.queue, whole["method"]["network.memory.queue"])
    image = sorted((shapes / "images").iterdir())[0]
    whole_image, windows = (predict(tmp_path / "whole", image, stride=s) for s in (None, [16, 16]))
    assert whole_image.labels.shape == windows.labels.shape


def test_labelled_images_are_augmented_strongly(shapes, tmp_path):
    flow = workflow(FILES, **settings_of(shapes, tmp_path / "run"))
    flow.initialize()
    loader = flow.parser.get_parsed_content("train::dataloader")
    assert loader.dataset.labeled_view == "strong"
    assert loader.dataset.views == ("weak",)
    assert flow.parser.get_parsed_content("method").warmup == 2


def test_a_network_without_the_module_is_refused_before_a_folder_is_made(shapes, tmp_path):
    settings = settings_of(shapes, tmp_path / "run")
    line = refusal(
        [*FILES, "networks/small.yaml"],
        **settings,
        network_def={"_target_": "medssl.networks.FPN", "num_classes": 4},
    )
    assert "network FPN: is without AllSpark's module; wrap it" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("network", ["allspark_small", "allspark_b0"])
def test_the_overlays_of_networks_train(network, shapes, tmp_path):
    settings = settings_of(shapes, tmp_path / "run", max_steps=2)
    flow = run([*FILES, f"networks/{network}.yaml"], **settings)
    wrapped = type(flow.parser.get_parsed_content("network_def").network).__name__
    assert wrapped == {"allspark_small": "FPN", "allspark_b0": "SegFormer"}[network]
