from pathlib import Path

import pytest
import yaml

from medssl.common.errors import InputError
from medssl.protocol.analysis.published import published_figures
from medssl.protocol.running.plan import plan_runs, read_protocol, slug
from tests.places import ROOT

PROTOCOLS = sorted((ROOT / "scripts/protocols").glob("*.yaml"))
BUNDLE = ROOT / "bundles/tcseg"


def write(folder, **changes):
    content = {
        "bundle": str(BUNDLE),
        "datasets": {"phantom": {"files": ["datasets/phantom.yaml"], "labeled": [2, 4]}},
        "methods": {
            "supervised": {"files": ["methods/supervised.yaml"], "minutes": 1},
            "w/o U(v)": {
                "files": ["methods/tcseg.yaml"],
                "settings": {"method_options::use_uncertainty": False},
            },
        },
        "seeds": [1, 2, 3],
        "settings": {"max_steps": 50},
        "minutes": 4,
    } | changes
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}), encoding="utf-8")
    return path


def test_a_protocol_is_the_product_of_its_parts_seed_by_seed(tmp_path):
    protocol = read_protocol(write(tmp_path, overrides={"tau=0.1": {"tau": 0.1}, "tau=0.2": {"tau": 0.2}}))
    runs = plan_runs(protocol, tmp_path / "runs", dataset_dirs={"phantom": "data"})
    assert len(runs) == 3 * 2 * 2 * 2
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert len({run.folder for run in runs}) == len(runs)
    assert {run.setting for run in runs} == {
        f"{m} {o}" for m in ("supervised", "w/o U(v)") for o in ("tau=0.1", "tau=0.2")
    }
    assert {run.minutes for run in runs} == {1, 4}


def test_later_settings_win_and_the_file_holds_them_all(tmp_path):
    protocol = read_protocol(write(tmp_path, overrides={"": {"max_steps": 60}}))
    assert plan_runs(protocol, tmp_path, dataset_dirs={"phantom": "x"})[0].settings["max_steps"] == 60
    run = plan_runs(protocol, tmp_path, dataset_dirs={"phantom": "x"}, settings={"max_steps": 70})[-1]
    written = yaml.safe_load(run.settings_text())
    assert written == dict(run.settings)
    assert written["max_steps"] == 70
    assert written["method_options::use_uncertainty"] is False
    assert written["run_dir"] == str(run.folder) == str(tmp_path / "phantom-w-o-u-v-labeled4-seed3")
    assert written["setting"] == "w/o U(v)"
    assert [Path(name).name for name in run.training_files] == [
        "train.yaml", "phantom.yaml", "tcseg.yaml", "settings.yaml",
    ]  # fmt: skip
    assert run.scoring_files == [
        str(run.folder / "config.yaml"),
        str(run.bundle / "configs/evaluate.yaml"),
        str(run.folder / "settings.yaml"),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": [1]}, "key 'seed'|did you mean 'seeds'"),
        ({"seeds": []}, "seeds are"),
        ({"seeds": [1, 1]}, "seeds are"),
        ({"seeds": [True]}, "seeds are"),
        ({"methods": {}}, "no methods"),
        ({"methods": {"a": {"files": ["methods/none.yaml"]}}}, "no configs/methods/none.yaml"),
        ({"methods": {"a": {"labeled": [3]}}}, "no such name"),
        ({"methods": {"a": ["methods/tcseg.yaml"]}}, "no mapping"),
        ({"datasets": {"phantom": {"files": []}}}, "names no labelled count"),
        ({"bundle": "tcsegg"}, "bundle 'tcsegg': no such name; did you mean 'tcseg'"),
        ({"bundle": "../elsewhere"}, "bundle has no configs/train.yaml"),
        ({"settings": [1]}, "no mapping"),
        ({"overrides": {"a": 3}}, "no mapping"),
    ],
)
def test_a_faulty_file_is_refused_in_one_line(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        read_protocol(write(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such protocol file"):
        read_protocol(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        read_protocol(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("[1]", encoding="utf-8")
    with pytest.raises(InputError, match="is no mapping of settings"):
        read_protocol(tmp_path / "list.yaml")


def test_names_that_clash_and_data_that_is_not_named(tmp_path):
    protocol = read_protocol(write(tmp_path, methods={"a b": {}, "A-B": {}}))
    with pytest.raises(InputError, match="two runs are called phantom-a-b-labeled2-seed1"):
        plan_runs(protocol, tmp_path, dataset_dirs={"phantom": "x"})
    with pytest.raises(InputError, match="add --dataset-dir phantom=FOLDER"):
        plan_runs(protocol, tmp_path)
    with pytest.raises(InputError, match="did you mean 'phantom'"):
        plan_runs(protocol, tmp_path, dataset_dirs={"fantom": "x"})


def test_a_datalist_can_be_given_with_the_command(tmp_path):
    protocol = read_protocol(write(tmp_path))
    runs = plan_runs(protocol, tmp_path, datalists={"phantom": "d.json"})
    assert {run.settings["datalist_file"] for run in runs} == {str(Path("d.json").absolute())}
    assert all("dataset_dir" not in run.settings for run in runs)
    with pytest.raises(InputError, match="did you mean 'phantom'"):
        plan_runs(protocol, tmp_path, datalists={"fantom": "d.json"})


@pytest.mark.parametrize("path", PROTOCOLS, ids=lambda path: path.stem)
def test_ready_protocols_name_overlays_and_switches_that_exist(path):
    from medssl.methods import TCSeg
    from tests.bundles.conftest import workflow

    protocol = read_protocol(path)
    assert protocol.name == path.stem
    runs = plan_runs(protocol, "runs", dataset_dirs=dict.fromkeys(protocol.datasets, "data"))
    for run in {run.setting: run for run in runs}.values():
        parser = workflow(["train.yaml", *run.files], configs=run.bundle / "configs", **run.settings).parser
        for name in run.settings:
            assert name == "unit" or parser.get(name) is not None or name == "setting", name
        if parser["method_name"] == "tcseg":
            import inspect

            assert set(parser["method_options"]) <= set(inspect.signature(TCSeg).parameters)


def test_the_phantom_protocol_holds_the_settings_of_the_ablations():
    protocol = read_protocol(ROOT / "scripts/protocols/phantom.yaml")
    assert len(protocol.methods) == 8
    assert protocol.seeds == (1, 2, 3, 4, 5)


def test_the_studies_of_images_hold_the_settings_of_the_papers():
    """Every method with and without the agent score, at the labelled counts that the tables have."""
    studies = {name: read_protocol(name) for name in ("camvid", "voc", "cityscapes")}
    for name, counts in (("voc", [92, 183, 366, 732, 1464]), ("cityscapes", [100, 186, 372, 744, 1488])):
        figures = published_figures()
        papers = figures[figures["dataset"].eq(name) & figures["paper"].isin(["agscore", "rss"])]
        assert studies[name].datasets[name]["labeled"] == counts
        assert set(counts) <= set(papers["labeled"].dropna())
        assert {"fixmatch R101", "unimatch R101", "rankmatch R101"} <= set(studies[name].methods)
        assert "unimatch v2 ViT-B" in studies[name].methods
    for study in studies.values():
        assert study.seeds == (1, 2, 3)
        for method in study.methods:
            if method.endswith(" agscore"):
                own, other = (study.methods[key] for key in (method, method.removesuffix(" agscore")))
                assert own["settings"] == other["settings"]
                plain = [file for file in other["files"] if "selectors/" not in file]
                assert list(own["files"]) == [*plain, "selectors/agscore.yaml"]
    settings = set(studies["camvid"].methods)
    assert {"supervised", "supervised ViT", "fixmatch dual axis"} <= settings
    for method in ("fixmatch", "unimatch", "rankmatch", "unimatch v2 ViT"):
        assert {method, f"{method} agscore"} <= settings


@pytest.mark.parametrize(
    ("text", "expected"), [("w/o U(v)", "w-o-u-v"), ("TCSeg tau=0.05", "tcseg-tau-0.05")]
)
def test_slugs(text, expected):
    assert slug(text) == expected


def test_bundle_and_protocols_of_the_package_are_found_by_name(tmp_path):
    for path in PROTOCOLS:
        protocol = read_protocol(path.stem)
        named = yaml.safe_load(path.read_text(encoding="utf-8"))["bundle"]
        assert (protocol.path, protocol.bundle) == (path, ROOT / "bundles" / named)
    assert read_protocol(write(tmp_path, bundle=None)).bundle == BUNDLE


def test_an_overlay_of_ones_own_lies_beside_the_protocol_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 3\n")
    methods = {"mine": {"files": ["methods/tcseg.yaml", "mine.yaml"]}}
    (run, *_) = plan_runs(
        read_protocol(write(tmp_path, methods=methods)), tmp_path, dataset_dirs={"phantom": "x"}
    )
    assert run.training_files[2:4] == [
        str(BUNDLE / "configs/methods/tcseg.yaml"),
        str(tmp_path / "mine.yaml"),
    ]
