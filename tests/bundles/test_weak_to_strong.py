"""FixMatch and its kin train on scans with the same bundle, and with any selector."""

import csv

import pytest
import torch
from ignite.engine import Events

from medssl.inference.checkpoints import load_checkpoint

from .conftest import TINY, run, workflow

NAMES = ["fixmatch", "unimatch", "unimatch_v2", "rankmatch"]


def settings_of(phantoms, folder, **more):
    return {**TINY, "dataset_dir": str(phantoms), "run_dir": str(folder), "lr_scheduler": None, **more}


def files_of(name):
    return ["train.yaml", "datasets/phantom.yaml", f"methods/{name}.yaml"]


@pytest.mark.parametrize("name", NAMES)
def test_a_method_trains_validates_and_leaves_a_deployable_checkpoint(phantoms, tmp_path, name):
    folder = tmp_path / "run"
    selector = {"_target_": "medssl.reliability.DualAxis"} if name == "unimatch" else None
    run(files_of(name), **settings_of(phantoms, folder, selector=selector))
    checkpoint = load_checkpoint(folder / "last.pt")
    assert all(value.isfinite().all() for value in checkpoint["method"].values())
    assert (folder / "best.pt").is_file()
    with (folder / "pseudo_labels.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert {row["selector"] for row in rows} == {name, "confidence 0.95"}


@pytest.mark.parametrize("name", ["rankmatch", "unimatch_v2"])
def test_a_training_that_is_resumed_ends_with_the_same_bits(phantoms, tmp_path, name):
    run(files_of(name), **settings_of(phantoms, tmp_path / "whole"))
    cut = settings_of(phantoms, tmp_path / "cut")
    flow = workflow(files_of(name), **cut)
    flow.initialize()
    trainer = flow.parser.get_parsed_content("train::trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())
    flow.run()
    assert load_checkpoint(tmp_path / "cut" / "last.pt")["progress"]["step"] == TINY["steps_per_epoch"]
    run(files_of(name), **{**cut, "resume": True})
    whole, resumed = (load_checkpoint(tmp_path / f / "last.pt")["method"] for f in ("whole", "cut"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
