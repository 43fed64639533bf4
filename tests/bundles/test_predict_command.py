"""``medssl predict`` on a run of the bundle: everything that it needs comes from the checkpoint."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events

from medssl.cli import main
from medssl.metrics import dice
from tests.review.scans import affine, body

from .conftest import BUNDLE, TINY, run, workflow


@pytest.fixture(scope="module")
def scans(phantoms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for case in ("phantom_001", "phantom_004"):
        shutil.copy(phantoms / "images" / f"{case}.nii.gz", folder)
    return folder


def predict(scans, checkpoint, out, *more):
    files = [str(checkpoint)] if not isinstance(checkpoint, list) else [str(path) for path in checkpoint]
    arguments = ["predict", "--checkpoint", *files, "--input", str(scans), "--out", str(out)]
    return main([*arguments, "--device", "cpu", *map(str, more)])


def labels(folder, case="phantom_001"):
    return np.asarray(nib.load(folder / f"{case}_seg.nii.gz").dataobj)


@pytest.fixture(scope="module")
def predicted(scans, trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("predicted") / "out"
    assert predict(scans, trained / "last.pt", out) == 0
    return out


def test_the_command_and_the_bundles_inference_say_the_same(scans, trained, predicted, tmp_path):
    run(
        ["inference.yaml"],
        "infer",
        **{k: TINY[k] for k in ("bundle_root", "device")},
        dataset_dir=str(scans),
        checkpoint=str(trained / "last.pt"),
        output_dir=str(tmp_path),
    )
    for path in sorted(predicted.glob("*.nii.gz")):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_settings_come_from_the_checkpoint(predicted, trained):
    meta = torch.load(trained / "last.pt", weights_only=True)["meta"]
    settings = json.loads((predicted / "phantom_001.json").read_text())["settings"]
    assert settings["patch"] == TINY["patch_size"] == meta["patch_size"]
    assert settings["preprocessing"] == ["LoadCased", "Orientd", "NormalizeIntensityd"]
    assert settings["orientation"] == "RAS" == meta["orientation"]
    assert settings["amp"] == "off" == meta["amp"]  # though the overlay trains in bf16


def test_dual_axis_adds_a_map_and_changes_no_label(scans, trained, predicted, tmp_path):
    assert predict(scans, trained / "last.pt", tmp_path / "out", "--uncertainty", "dual-axis") == 0
    np.testing.assert_array_equal(labels(predicted), labels(tmp_path / "out"))
    apart = nib.load(tmp_path / "out" / "phantom_001_disagreement.nii.gz").get_fdata()
    assert 0 < apart.max() <= 1


def test_several_checkpoints_are_an_ensemble(scans, trained, tmp_path):
    both = [trained / "last.pt", trained / "best.pt"]
    assert predict(scans, both, tmp_path / "out") == 0
    car = json.loads((tmp_path / "out" / "phantom_001.json").read_text())
    assert [member["file"] for member in car["model"]] == ["last.pt", "best.pt"]
    assert "pairs" in car["formulas"]["disagreement"]


def test_a_datalist_a_case_a_single_file_and_options(phantoms, trained, tmp_path):
    datalist = {
        "training": [{"image": "images/phantom_001.nii.gz", "label": "labels/phantom_001.nii.gz"}],
        "unlabeled": [{"image": "images/phantom_002.nii.gz"}],
        "test": [{"image": "images/phantom_003.nii.gz"}],
    }
    for entries in datalist.values():
        for entry in entries:
            entry |= {key: str(phantoms / value) for key, value in entry.items()}
    (tmp_path / "d.json").write_text(json.dumps(datalist))
    checkpoint = trained / "last.pt"
    options = ("--flips", 0, "--window-weights", "gaussian", "--keep-largest", 1, "--bids", "--probabilities")
    assert predict(tmp_path / "d.json", checkpoint, tmp_path / "out", *options, "--lists", "test") == 0
    written = sorted(path.name for path in (tmp_path / "out").rglob("*.nii.gz"))
    assert "sub-phantom003_desc-medssl_dseg.nii.gz" in written
    assert "sub-phantom003_label-1_desc-medssl_probseg.nii.gz" in written
    assert not any("phantom002" in name for name in written)
    scan = phantoms / "images" / "phantom_002.nii.gz"
    assert predict(scan, checkpoint, tmp_path / "one", "--class-names", "body") == 0
    assert '"body"' in (tmp_path / "one" / "labels.txt").read_text()


def test_a_broken_scan_is_a_finding_and_the_others_are_done(scans, trained, tmp_path, capsys):
    shutil.copytree(scans, tmp_path / "scans")
    (tmp_path / "scans" / "broken.nii.gz").write_bytes(b"no")
    assert predict(tmp_path / "scans", trained / "last.pt", tmp_path / "out") == 1
    printed = capsys.readouterr().out
    assert "2 predicted, 0 were there, 1 failed" in printed
    assert "broken.nii.gz" in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["elsewhere"], "too many or too few"),
        (["--flips", "3"], "no such axis"),
        (["--keep-largest", "5"], "the model does not have it"),
        (["--cases", "phantom_01"], "phantom_001"),
        (["--class-names", "a", "b"], "class names"),
        (["--stride", "99", "16", "16"], "stride"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(scans, trained, tmp_path, capsys, more, message):
    assert predict(scans, trained / "last.pt", tmp_path / "out", *more) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ")
    assert message in error[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_run_and_three_places_are_enough(scans, trained, tmp_path, which, capsys):
    """The former form, with its bundle, gives the same and says that it is not needed."""
    out = tmp_path / "out"
    command = ["predict", trained, scans, out, "--use", which, "--device", "cpu", "--cases", "phantom_001"]
    assert main([str(part) for part in command]) == 0
    capsys.readouterr()
    more = ("--cases", "phantom_001", "--bundle", BUNDLE)
    assert predict(scans, trained / f"{which}.pt", tmp_path / "former", *more) == 0
    assert "--bundle is not needed" in capsys.readouterr().err
    np.testing.assert_array_equal(labels(out), labels(tmp_path / "former"))


@pytest.mark.parametrize(
    ("places", "fault"),
    [
        (["none.pt", "SCANS", "out"], "no such run or checkpoint"),
        ([".", "SCANS", "out"], "holds no last.pt"),
        (["RUN", "SCANS"], "give RUN INPUT OUT"),
        (["RUN", "SCANS", "out", "more"], "give RUN INPUT OUT"),
        ([], "give RUN INPUT OUT"),
    ],
)
def test_places_that_are_none_are_named(scans, trained, tmp_path, places, fault, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"RUN": str(trained), "SCANS": str(scans)}
    assert main(["predict", *(names.get(place, place) for place in places)]) == 2
    assert fault in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_temperature_is_fitted_kept_and_used(phantoms, scans, trained, tmp_path, capsys):
    shutil.copy(trained / "last.pt", tmp_path / "last.pt")
    entry = {k: str(phantoms / f"{k}s" / "phantom_005.nii.gz") for k in ("image", "label")}
    first = {k: str(phantoms / f"{k}s" / "phantom_001.nii.gz") for k in ("image", "label")}
    (tmp_path / "d.json").write_text(json.dumps({"training": [first], "validation": [entry]}))
    command = ["calibrate", str(tmp_path / "last.pt"), str(tmp_path / "d.json"), "--device", "cpu"]
    assert main(command) == 0
    assert "temperature" in capsys.readouterr().out
    calibration = json.loads((tmp_path / "last.calibration.json").read_text())
    assert calibration["nll_after"] < calibration["nll_before"]
    assert main(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert predict(scans, tmp_path / "last.pt", tmp_path / "out") == 0
    settings = json.loads((tmp_path / "out" / "phantom_001.json").read_text())["settings"]
    assert settings["temperature"] == calibration["temperature"]
    assert predict(scans, tmp_path / "last.pt", tmp_path / "raw", "--temperature", 1) == 0
    np.testing.assert_array_equal(labels(tmp_path / "out"), labels(tmp_path / "raw"))


def few(phantoms, tmp_path, trained, validation=(3, 4, 5)):
    """A copy of a checkpoint and a datalist with validation cases that it was not trained on."""
    shutil.copy(trained / "last.pt", tmp_path / "last.pt")
    first, *others = (
        {k: str(phantoms / f"{k}s" / f"phantom_00{n}.nii.gz") for k in ("image", "label")}
        for n in (1, *validation)
    )
    (tmp_path / "d.json").write_text(json.dumps({"training": [first], "validation": others}))
    return ["calibrate", str(tmp_path / "last.pt"), str(tmp_path / "d.json"), "--device", "cpu"]


def test_promises_are_fitted_kept_written_and_measured(phantoms, trained, tmp_path, capsys):
    command = few(phantoms, tmp_path, trained)
    assert main([*command, "--risk", "0.1"]) == 2
    assert "2 cases of list 'validation', beside 1 that fit the temperature" in capsys.readouterr().err
    assert not (tmp_path / "last.calibration.json").exists()
    assert main([*command, "--risk", "0.4", "--temperature", "2"]) == 0
    assert "rank 3 of 3, level 0.7500" in capsys.readouterr().out
    promises = json.loads((tmp_path / "last.calibration.json").read_text())["promises"]
    assert (promises["cases"], promises["settings"]["temperature"]) == (3, 2.0)
    out = tmp_path / "out"
    assert (
        main(["predict", str(tmp_path / "last.pt"), str(tmp_path / "d.json"), str(out), "--device", "cpu"])
        == 0
    )
    capsys.readouterr()
    # On the way of a prediction, bit for bit: of the very cases of the calibration it is the largest error.
    assert main(["review", "evaluate", str(out), "--labels", str(phantoms / "labels"), "--json"]) == 0
    errors = []
    with (out / "triage.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            errors.append(float(row["expected_dice"]) - (1 - float(row["error"])))
    (one,) = promises["classes"].values()
    assert one["cases"] == len(errors) == 3
    assert max(errors) == pytest.approx(one["overestimate"], abs=2e-6)
    (reached,) = json.loads(capsys.readouterr().out)["promises"]
    assert (reached["cases"], reached["bounds_hold"]) == (3, 1)
    assert reached["captured"] >= 0.6


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """Three classes, an oblique order of axes that is not RAS, thick slices, and a margin of zeros."""
    folder = tmp_path_factory.mktemp("data") / "awkward"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    oblique = affine((0.9, 1.2, 2.1), flips=(-1, 1, -1), axes=(2, 0, 1), degrees=(12, -21, 34))
    for number in range(1, 6):
        values = np.pad(body((38, 34, 20), (0.9, 1.2, 2.1), number), 3)
        label = (values > 0.3).astype(np.uint8) + (values > 0.6)
        for kind, array in (("images", values), ("labels", label)):
            nib.save(nib.Nifti1Image(array, oblique), folder / kind / f"case_{number}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def scored(awkward, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "awkward"
    settings = {**TINY, "num_classes": 3, "spacing": [1.3, 1.1, 1.7], "max_steps": 60, "dropout": 0}
    settings |= {"steps_per_epoch": 30, "learning_rate": 0.05, "dataset_dir": str(awkward)}
    settings["run_dir"] = str(folder)
    files = ["train.yaml", "datasets/custom.yaml", "methods/supervised.yaml"]
    run(files, **settings)
    run([*files, "evaluate.yaml"], **settings)
    return folder, files, settings


def test_what_is_scored_is_what_is_exported(awkward, scored, tmp_path):
    """Resampled, cropped, turned, three classes: label maps have the volumes and the Dice of the scores."""
    run_dir, _, _ = scored
    for name in ("best", "last"):
        with (run_dir / f"cases_{name}.csv").open(newline="") as table:
            rows = list(csv.DictReader(table))
        out = tmp_path / name
        # Nothing but the checkpoint says how: windows, precision, spacing and orientation are its own.
        command = ["predict", "--checkpoint", run_dir / f"{name}.pt", "--input"]
        command += [awkward, "--out", out, "--cases", *{row["case"] for row in rows}, "--device", "cpu"]
        assert main([str(part) for part in command]) == 0
        assert len(rows) == 2 * 2
        for row in rows:
            predicted, truth = (
                np.asarray(nib.load(path).dataobj) == int(row["class"])
                for path in (
                    out / f"{row['case']}_seg.nii.gz",
                    awkward / "labels" / f"{row['case']}.nii.gz",
                )
            )
            car = json.loads((out / f"{row['case']}.json").read_text())
            volume = car["statistics"]["classes"][f"class {row['class']}"]["volume_ml"]
            assert float(row["volume_ml"]) == volume
            assert float(row["dice"]) == round(dice(predicted, truth), 6)
        assert any(float(row["dice"]) > 0 for row in rows)


def test_the_engine_that_is_scored_and_the_files_hold_the_same_bits(awkward, scored, tmp_path):
    run_dir, files, settings = scored
    flow = workflow([*files, "evaluate.yaml"], **settings, overwrite=True)
    flow.initialize()
    evaluator = flow.parser.get_parsed_content("validate::evaluator")
    seen = {}

    @evaluator.on(Events.ITERATION_COMPLETED)
    def keep(engine):
        seen[engine.state.batch[0]["case"]] = engine.state.output[0]

    flow.run()  # last.pt comes last
    arguments = ("--cases", *seen, "--probabilities")
    command = ["predict", "--checkpoint", run_dir / "last.pt", "--input", awkward]
    command += ["--out", tmp_path / "out", "--device", "cpu", *arguments]
    assert main([str(part) for part in command]) == 0
    keys = {"seg": "label_map", "confidence": "confidence", "uncertainty": "uncertainty"}
    assert len(seen) == 2
    for case, output in seen.items():
        maps = {name: output[key][0].numpy() for name, key in keys.items()}
        maps |= {f"probability-{k}": values.numpy() for k, values in enumerate(output["pred"])}
        for name, array in maps.items():
            stored = np.asarray(nib.load(tmp_path / "out" / f"{case}_{name}.nii.gz").dataobj)
            np.testing.assert_array_equal(array, stored)


def test_a_checkpoint_without_an_orientation_predicts_in_stored_order(awkward, scored, tmp_path):
    """Early checkpoints name no orientation; they were not trained in RAS."""
    run_dir, files, settings = scored
    checkpoint = torch.load(run_dir / "last.pt", weights_only=True)
    assert checkpoint["meta"].pop("orientation") == "RAS"
    (tmp_path / "old").mkdir()
    torch.save(checkpoint, tmp_path / "old" / "last.pt")
    shutil.copy(run_dir / "config.yaml", tmp_path / "old")
    shutil.copy(run_dir / "run.json", tmp_path / "old")
    label_maps = []
    for name, path in (("old", tmp_path / "old" / "last.pt"), ("new", run_dir / "last.pt")):
        out = tmp_path / f"{name} out"
        assert predict(awkward, path, out, "--cases", "case_1") == 0
        label_maps.append(labels(out, "case_1"))
        step = "Orientd" in json.loads((out / "case_1.json").read_text())["settings"]["preprocessing"]
        assert step == (name == "new")
    assert not np.array_equal(*label_maps)
    run([*files, "evaluate.yaml"], **{**settings, "run_dir": str(tmp_path / "old")})
    tables = [(folder / "cases_last.csv").read_text() for folder in (tmp_path / "old", run_dir)]
    assert tables[0] != tables[1]


def test_robustness_of_two_models_in_one_table(phantoms, trained, tmp_path, capsys):
    first, second = (
        {k: str(phantoms / f"{k}s" / f"phantom_00{n}.nii.gz") for k in ("image", "label")} for n in (1, 5)
    )
    (tmp_path / "d.json").write_text(json.dumps({"training": [first], "test": [second]}))
    models = [f"a={trained / 'last.pt'}", f"b={trained / 'best.pt'}"]
    command = ["robustness", "--checkpoint", *models, "--out", str(tmp_path / "out")]
    command += ["--input", str(tmp_path / "d.json"), "--device", "cpu", "--amp", "off"]
    assert main([*command, "--corruptions", "noise", "--severities", "2"]) == 0
    assert "| b | noise | 2 |" in " ".join(capsys.readouterr().out.split())  # columns are aligned
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"cells", "radar.png", "robustness.csv", "robustness.md", "settings.json"}
    assert main([*command, "--corruptions", "nois"]) == 2
    assert "did you mean 'noise'" in capsys.readouterr().err
    assert main([*command, "--list", "validation"]) == 2
    assert "no case with a label" in capsys.readouterr().err
