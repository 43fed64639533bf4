import json

import pytest
import yaml

from medssl.common.errors import InputError
from medssl.data.preparing.phantom_set import write_phantoms
from medssl.protocol.running.plan import plan_runs, read_protocol
from medssl.protocol.running.preflight import check_runs
from tests.protocol.running.test_plan import BUNDLE

ONE = {"files": ["datasets/phantom.yaml"], "labeled": [2]}
SETTINGS = {"width": 2, "patch_size": [32, 32, 16], "validation": 1, "test": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preflight") / "data"
    write_phantoms(folder, cases=7, seed=3, size=(40, 40, 32))
    return folder


def check(folder, data, *, own_data=None, methods=None, bundle=BUNDLE, **settings):
    content = {
        "bundle": str(bundle),
        "datasets": {"phantom": own_data or ONE},
        "methods": methods or {"TCSeg": {"files": ["methods/tcseg.yaml"]}},
        "seeds": [1, 2],
        "settings": SETTINGS | settings,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    where = {} if data is None else {"phantom": str(data)}
    runs = plan_runs(read_protocol(folder / "study.yaml"), folder / "runs", dataset_dirs=where)
    check_runs(runs)
    return runs


def test_a_plan_that_can_run_passes_and_leaves_nothing(tmp_path, data):
    options = {"method_options::tau": 0.1, "unit": "voxel", "train::trainer::max_grad_norm": 1.0}
    assert len(check(tmp_path, data, **options)) == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learningrate": 0.1}, "setting 'learningrate': no such name; did you mean 'learning_rate'"),
        ({"train::trainr::amp": "off"}, "names no part of the configs"),
        ({"method_options::use_uncertianty": False}, "use_uncertianty"),
        ({"method_options::preset": "papr"}, "did you mean 'paper'"),
        ({"patch_size": [50, 48, 32]}, "DualDecoderVNet cannot take it"),
        ({"max_steps": 7, "steps_per_epoch": 2}, "not a multiple"),
        ({"num_classes": 3}, "no label shows class 2"),
        ({"test": 0}, "no test case to score"),
        ({"validation": 6}, "6 cases asked of 5"),
    ],
)
def test_what_would_fail_later_is_refused_in_one_line(tmp_path, data, settings, message):
    with pytest.raises(InputError, match=message) as caught:
        check(tmp_path, data, **settings)
    assert str(caught.value).startswith("phantom-tcseg-labeled2-seed1: ")
    assert "\n" not in str(caught.value)


def test_an_overlay_that_is_no_yaml_is_refused(tmp_path, data):
    for part in ("datasets", "methods"):
        (tmp_path / "bundle/configs" / part).mkdir(parents=True)
        for path in (BUNDLE / "configs" / part).iterdir():
            (tmp_path / "bundle/configs" / part / path.name).write_text(path.read_text())
    for name in ("train.yaml", "evaluate.yaml"):
        (tmp_path / "bundle/configs" / name).write_text((BUNDLE / "configs" / name).read_text())
    (tmp_path / "bundle/configs/methods/tcseg.yaml").write_text("method_options: {tau: 0.1")
    with pytest.raises(InputError, match=r"tcseg\.yaml: cannot be read"):
        check(tmp_path, data, bundle=tmp_path / "bundle")


def datalist(folder, data, **changes):
    name = "phantom_00{}.nii.gz".format
    items = [{kind: str(data / f"{kind}s" / name(n)) for kind in ("image", "label")} for n in range(5)]
    lists = {
        "training": items[:2],
        "unlabeled": [items[2]["image"]],
        "validation": items[3:4],
        "test": items[4:],
    }
    (folder / "d.json").write_text(json.dumps(lists | changes))
    return {"files": ["datasets/phantom.yaml"], "datalist": "d.json"}


def test_a_datalist_gives_the_labelled_count_and_needs_no_folder(tmp_path, data):
    runs = check(tmp_path, None, own_data=datalist(tmp_path, data))
    assert [run.name for run in runs] == [f"phantom-tcseg-labeled2-seed{seed}" for seed in (1, 2)]
    assert runs[0].settings["datalist_file"] == str(tmp_path / "d.json")
    assert "dataset_dir" not in runs[0].settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": []}, "no test case to score"),
        ({"unlabeled": []}, "lists no unlabelled case"),
        ({"unlabeled": ["gone.nii.gz"]}, "gone.nii.gz: no such file"),
        ({"training": []}, "has no 'training' list"),
    ],
)
def test_a_datalist_that_cannot_train_is_refused(tmp_path, data, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        check(tmp_path, None, own_data=datalist(tmp_path, data, **changes))
    assert "\n" not in str(caught.value)


def test_a_datalist_that_is_missing_or_says_another_count_is_refused(tmp_path, data):
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        check(tmp_path, None, own_data={"datalist": "none.json"})
    with pytest.raises(InputError, match=r"labeled=3: .*lists 2 labelled cases"):
        check(tmp_path, None, own_data=datalist(tmp_path, data) | {"labeled": [3]})
