"""The configs of natural_image run on a tiny set of shapes."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Events
from monai.bundle import ckpt_export, verify_net_in_out
from PIL import Image

from medssl.data import validate_datalist
from medssl.inference.checkpoints import load_checkpoint
from medssl.methods import names
from medssl.metrics import MeanIoU
from medssl.training import steps_of_pass

from .conftest import IMAGE_BUNDLE, TINY_IMAGES, refusal, run, words_of, workflow

CONFIGS = IMAGE_BUNDLE / "configs"
TRAIN = ["train.yaml", "datasets/shapes.yaml"]
OVERLAYS = {
    kind: sorted(path.stem for path in (CONFIGS / kind).glob("*.yaml"))
    for kind in ("datasets", "methods", "networks", "selectors")
}


def rows_of(folder):
    with (folder / "pseudo_labels.csv").open(newline="") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    """The folder of a finished UniMatch V2 run of four steps with AgScore."""
    folder = tmp_path_factory.mktemp("runs") / "unimatch_v2"
    settings = {**TINY_IMAGES, "dataset_dir": str(shapes), "run_dir": str(folder)}
    run([*TRAIN, "methods/unimatch_v2.yaml", "selectors/agscore.yaml"], **settings)
    return folder


def test_training_leaves_a_complete_run(trained):
    record = json.loads((trained / "run.json").read_text())
    assert (record["status"], record["selection"]) == ("finished", "validation")
    assert (record["dataset"], record["method"], record["labeled"]) == ("shapes", "unimatch_v2", 3)
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["strong_view"] == {"_target_": "medssl.data.StrongImageViewd"}
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    validations = [entry for entry in log if entry["event"] == "validation"]
    assert [entry["step"] for entry in validations] == [2, 4]
    for name in ("val_miou", "val_ece", "val_p_acc_cer", "val_p_unc_inacc", "val_rss"):
        assert 0 <= validations[-1][name] <= 1
    best, last = (load_checkpoint(trained / f"{name}.pt") for name in ("best", "last"))
    assert best["best"]["metric"] == max(entry["val_miou"] for entry in validations)
    meta = last["meta"]
    assert (meta["patch_size"], meta["stride"], meta["orientation"]) == ([32, 32], None, None)
    assert [step["name"] for step in meta["preprocessing"]] == ["LoadCased", "ScaleIntensityRanged"]
    own = [row for row in rows_of(trained) if row["class"] == "all"]
    assert {row["class"] for row in rows_of(trained)} == {"all", "0", "1", "2", "3"}
    assert [(row["step"], row["selector"]) for row in own] == [
        (step, selector) for step in ("2", "4") for selector in ("unimatch_v2", "confidence 0.95")
    ]


def test_properties_of_training_and_inference_are_complete(shapes, trained, tmp_path):
    settings = {**TINY_IMAGES, "dataset_dir": str(shapes), "run_dir": str(tmp_path / "run")}
    training = workflow(TRAIN, **settings)
    training.initialize()
    assert training.check_properties() == []
    where = {"configs": CONFIGS, "dataset_dir": str(shapes), "checkpoint": str(trained / "last.pt")}
    inference = workflow(["inference.yaml"], "infer", **where)
    inference.initialize()
    assert inference.check_properties() == []


def test_network_takes_and_gives_what_the_metadata_says(trained):
    verify_net_in_out(
        net_id="network_def",
        config_file=str(CONFIGS / "inference.yaml"),
        meta_file=str(CONFIGS / "metadata.json"),
        device="cpu",
        n=1,
        p=1,
        checkpoint=str(trained / "last.pt"),
    )


def test_the_exported_network_is_the_teacher(trained, tmp_path):
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        config_file=str(CONFIGS / "inference.yaml"),
        meta_file=str(CONFIGS / "metadata.json"),
        ckpt_file=str(trained / "last.pt"),
        key_in_ckpt="deployed",
        use_trace=True,
        input_shape=[1, 3, 32, 48],
        checkpoint=str(trained / "last.pt"),
    )
    exported = torch.jit.load(str(tmp_path / "model.ts")).state_dict()
    method = load_checkpoint(trained / "last.pt")["method"]
    weights = {key: value for key, value in exported.items() if not key.startswith("normalization.")}
    assert len(weights) > 20
    assert all(torch.equal(value, method[f"teacher.network.{key}"]) for key, value in weights.items())


def test_what_is_validated_and_predicts_is_the_teacher(shapes, trained):
    last = load_checkpoint(trained / "last.pt")
    for key, value in last["network"].items():
        assert torch.equal(value, last["method"][f"teacher.network.{key}"])
    assert any(
        not torch.equal(value, last["method"][f"network.{key}"]) for key, value in last["network"].items()
    )
    student = workflow(
        [*TRAIN, "methods/unimatch_v2.yaml"],
        **{**TINY_IMAGES, "dataset_dir": str(shapes), "deploy": "student"},
    )
    student.initialize()
    method = student.parser.get_parsed_content("method")
    assert method.deployed_network is method.network


def test_best_is_chosen_by_the_iou_pooled_over_images(shapes, trained):
    settings = {**TINY_IMAGES, "dataset_dir": str(shapes)}
    flow = workflow([*TRAIN, "methods/unimatch_v2.yaml"], **settings)
    flow.initialize()
    method, cases, preprocessing = (
        flow.parser.get_parsed_content(name) for name in ("method", "cases", "train::preprocessing")
    )
    method.load_state_dict(
        {k: v for k, v in load_checkpoint(trained / "last.pt")["method"].items() if "selector" not in k}
    )
    pooled, method = MeanIoU(4, ignore_index=255), method.eval()
    inferer = flow.parser.get_parsed_content("validate::inferer")
    for item in cases.validation:
        loaded = preprocessing(dict(item))
        with torch.no_grad():
            probs = inferer(loaded["image"].as_tensor()[None], method)
        pooled.update(probs, loaded["label"].as_tensor())
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    chosen_by = [entry["val_miou"] for entry in log if entry["event"] == "validation"]
    assert chosen_by[-1] == pytest.approx(pooled.compute(), abs=1e-6)


@pytest.mark.parametrize("method", OVERLAYS["methods"])
def test_every_method_trains(method, shapes, shape_maps, tmp_path):
    settings = {**TINY_IMAGES, "max_steps": 2, "dataset_dir": str(shapes), "run_dir": str(tmp_path / "run")}
    settings["annotations"] = str(shape_maps)
    run([*TRAIN, f"methods/{method}.yaml"], **settings)
    last = load_checkpoint(tmp_path / "run" / "last.pt")
    assert last["progress"]["step"] == 2
    assert (tmp_path / "run" / "pseudo_labels.csv").exists() == (method != "supervised")
    deploys_teacher = (
        yaml.safe_load((CONFIGS / f"methods/{method}.yaml").read_text()).get("deploy") == "teacher"
    )
    part = "teacher.network" if deploys_teacher else "network"
    assert all(torch.equal(value, last["method"][f"{part}.{key}"]) for key, value in last["network"].items())


@pytest.mark.parametrize("selector", OVERLAYS["selectors"])
def test_every_selector_trains_here_and_on_scans(selector, shapes, phantoms, tmp_path):
    from .conftest import TINY

    settings = {
        **TINY_IMAGES,
        "max_steps": 2,
        "dataset_dir": str(shapes),
        "run_dir": str(tmp_path / "images"),
    }
    flow = run([*TRAIN, "methods/fixmatch.yaml", f"selectors/{selector}.yaml"], **settings)
    settings = {**TINY, "max_steps": 2, "dataset_dir": str(phantoms), "run_dir": str(tmp_path / "scans")}
    scans = ["train.yaml", "datasets/phantom.yaml", "methods/tcseg.yaml", f"selectors/{selector}.yaml"]
    kinds = {type(f.parser.get_parsed_content("method").selector) for f in (flow, run(scans, **settings))}
    assert len(kinds) == 1


def test_a_resumed_run_ends_like_an_uninterrupted_one(shapes, trained, tmp_path):
    files = [*TRAIN, "methods/unimatch_v2.yaml", "selectors/agscore.yaml"]
    settings = {**TINY_IMAGES, "dataset_dir": str(shapes), "run_dir": str(tmp_path / "run")}
    flow = workflow(files, **settings)
    flow.initialize()

    @flow.parser.get_parsed_content("train::trainer").on(Events.ITERATION_STARTED(once=4))
    def cut(engine):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow.run()
    run(files, **{**settings, "resume": True})
    uninterrupted, resumed = (load_checkpoint(f / "last.pt")["method"] for f in (trained, tmp_path / "run"))
    assert all(torch.equal(uninterrupted[key], resumed[key]) for key in uninterrupted)


def test_hidden_labels_reach_the_quality_of_pseudo_labels_and_nothing_else(shapes, trained, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    for path in (data / "labels").iterdir():
        if path.stem not in ("shapes_000", "shapes_001", "shapes_002", "shapes_006", "shapes_007"):
            Image.fromarray(np.full_like(np.asarray(Image.open(path)), 3)).save(path)
    settings = {**TINY_IMAGES, "dataset_dir": str(data), "run_dir": str(tmp_path / "run")}
    run([*TRAIN, "methods/unimatch_v2.yaml", "selectors/agscore.yaml"], **settings)
    truth, lie = (load_checkpoint(f / "last.pt")["method"] for f in (trained, tmp_path / "run"))
    assert all(torch.equal(truth[key], lie[key]) for key in truth)
    assert [row["ppv_all"] for row in rows_of(trained)] != [
        row["ppv_all"] for row in rows_of(tmp_path / "run")
    ]


def test_sliding_windows_and_a_smaller_grid_train(shapes, tmp_path):
    settings = {**TINY_IMAGES, "max_steps": 2, "dataset_dir": str(shapes), "run_dir": str(tmp_path / "run")}
    run([*TRAIN, "methods/supervised.yaml"], **settings, stride=[16, 16], resize=[36, 48])
    meta = load_checkpoint(tmp_path / "run" / "last.pt")["meta"]
    assert [step["name"] for step in meta["preprocessing"]] == [
        "LoadCased",
        "ScaleIntensityRanged",
        "Resized",
    ]
    assert meta["stride"] == [16, 16]


def test_a_teacher_that_there_is_not_cannot_be_deployed(shapes, tmp_path):
    settings = {**TINY_IMAGES, "dataset_dir": str(shapes), "run_dir": str(tmp_path / "run")}
    files = [*TRAIN, "methods/unimatch.yaml"]
    assert "UniMatch has no teacher; use deploy=student" in refusal(files, **settings, deploy="teacher")
    assert "did you mean 'teacher'?" in refusal(files, **settings, deploy="teachr")
    assert not (tmp_path / "run").exists()


def test_a_patch_that_the_network_cannot_take_is_refused(shapes, tmp_path):
    settings = {**TINY_IMAGES, "dataset_dir": str(shapes), "run_dir": str(tmp_path / "run")}
    line = refusal([*TRAIN, "networks/dpt_tiny.yaml"], **{**settings, "patch_size": [33, 32]})
    assert "patch size 33x32: DPT cannot take it" in line
    assert not (tmp_path / "run").exists()


def test_every_method_has_an_overlay():
    scans_alone = {"tcseg"}
    assert set(names()) - scans_alone <= set(OVERLAYS["methods"])


@pytest.mark.parametrize("dataset", [name for name in OVERLAYS["datasets"] if name != "shapes"])
def test_every_data_set_trains_a_step_on_images_of_its_classes(dataset, shapes, tmp_path):
    """With a datalist of shapes in its place, and patches and batches that a test can pay for."""
    overlay = yaml.safe_load((CONFIGS / f"datasets/{dataset}.yaml").read_text())
    lists = datalist_of(shapes)
    (tmp_path / "d.json").write_text(json.dumps(lists))
    settings = {
        **TINY_IMAGES,
        **{"datalist_file": str(tmp_path / "d.json"), "run_dir": str(tmp_path / "run")},
        **{"steps_per_epoch": 2, "max_steps": 2, "allow_absent_classes": True, "labeled": 3},
        **({"stride": [24, 24]} if overlay.get("stride") else {}),
        **({"resize": [36, 48]} if overlay.get("resize") else {}),
        **({} if "num_classes" in overlay else {"num_classes": 4}),
    }
    flow = run(["train.yaml", f"datasets/{dataset}.yaml", "methods/fixmatch.yaml"], **settings)
    assert load_checkpoint(tmp_path / "run" / "last.pt")["progress"]["step"] == 2
    class_names, classes = (flow.parser.get_parsed_content(name) for name in ("class_names", "num_classes"))
    assert class_names is None or len(class_names) == classes


def datalist_of(folder):
    items = [
        {"image": str(image), "label": str(folder / "labels" / image.name)}
        for image in sorted((folder / "images").iterdir())
    ]
    unlabeled = [item["image"] for item in items[3:7]]
    return {"training": items[:3], "unlabeled": unlabeled, "validation": items[7:9], "test": items[9:]}


@pytest.mark.parametrize(
    ("dataset", "patch", "batch", "passes", "rate", "multiplier", "threshold"),
    [
        ("voc", 321, 8, 80, 0.001, 10, 0.95),
        ("cityscapes", 801, 8, 240, 0.005, 1, 0.0),
        ("coco", 513, 8, 30, 0.004, 10, 0.95),
        ("voc_v2", 518, 16, 60, 5e-6, 40, 0.95),
        ("cityscapes_v2", 798, 8, 180, 5e-6, 40, 0.95),
        ("coco_v2", 518, 16, 20, 5e-6, 40, 0.95),
        ("ade20k", 518, 8, 60, 5e-6, 40, 0.95),
    ],
)
def test_overlays_hold_the_published_settings(dataset, patch, batch, passes, rate, multiplier, threshold):
    transformer = rate < 1e-5
    files = ["train", f"datasets/{dataset}", "methods/unimatch_v2" if transformer else "methods/unimatch"]
    files.append("networks/dpt_base" if transformer else "networks/deeplabv3plus_r101")
    config = {}
    for name in files:
        config |= yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert config["patch_size"] == [patch, patch]
    assert config["stride"] == ([patch * 2 // 3] * 2 if "cityscapes" in dataset else None)
    assert config["labeled_per_batch"] == config["unlabeled_per_batch"] == batch
    assert config["max_steps"] == f"${passes} * @steps_per_epoch"
    assert (config["learning_rate"], config["head_multiplier"]) == (rate, multiplier)
    assert config["threshold"] == threshold
    assert ("_target_" in config["criterion"]) == ("cityscapes" in dataset)
    assert config["weight_decay"] == (0.01 if transformer else 0.0001)
    assert (config["optimizer"] == "@adamw") == transformer
    assert (config["optimizer"] if not transformer else {}).get("momentum", 0.9) == config.get(
        "momentum", 0.9
    )
    assert (config["lr_scheduler"], config["polynomial"]["power"]) == ("@polynomial", 0.9)
    assert (config["deploy"] == "teacher") == transformer


def test_a_pass_is_over_the_unlabeled_images_of_all_processes(monkeypatch):
    lists = {"training": [1] * 20, "unlabeled": [1] * 101}
    assert steps_of_pass(lists, 8) == 12
    assert steps_of_pass({**lists, "unlabeled": []}, 8) == 2
    assert steps_of_pass({**lists, "unlabeled": [1] * 3}, 8) == 1
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert steps_of_pass(lists, 2) == 12


@pytest.mark.slow
def test_two_processes_train_one_model(shapes, tmp_path):
    files = [*TRAIN, "methods/unimatch_v2.yaml", "multi_gpu_train.yaml"]
    settings = {name: value for name, value in TINY_IMAGES.items() if name not in ("configs", "device")}
    settings |= {"device": "cpu", "dataset_dir": shapes, "run_dir": tmp_path / "run"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "--config_file", str([str(CONFIGS / name) for name in files])]
    done = subprocess.run(
        [*command, *words_of(settings)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    last = load_checkpoint(tmp_path / "run" / "last.pt")
    assert (last["progress"]["step"], len(last["rng"])) == (4, 2)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


def test_the_datalist_of_shapes_is_sound(shapes):
    from medssl.data import build_datalist

    datalist = build_datalist(shapes, dataset="shapes", labeled=3, validation=2, test=2)
    validate_datalist(datalist)
    assert [item["case"] for item in datalist["test"]] == ["shapes_008", "shapes_009"]
    assert len(datalist["hidden_labels"]) == 3
