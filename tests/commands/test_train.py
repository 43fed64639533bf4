"""What ``medssl train``, ``evaluate`` and ``bundle`` make of words; the trainings are in tests/bundles."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from medssl.cli import main
from medssl.commands._words import split_words
from medssl.common.bundles import KINDS, bundle_names, find_bundle, read_config
from tests.places import CONFIGS


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """The folder where the user stands; nothing is in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_are_read_in_every_spelling(empty):
    names, options = split_words(
        ["la", "--run-dir", "r", "tcseg", "--amp=off", "--resume", "--train::a_b", "-1"]
    )
    assert names == ["la", "tcseg"]
    assert options == {"run_dir": str(empty / "r"), "amp": "off", "resume": "true", "train::a_b": "-1"}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("train la", "medssl train: needs DATASET and METHOD"),
        ("train laa tcseg", "data set 'laa': no such name; did you mean 'la'?"),
        ("train la tcsegg", "method 'tcsegg': no such name; did you mean 'tcseg'?"),
        (
            "train la tcseg --network segresent",
            "network 'segresent': no such name; did you mean 'segresnet'?",
        ),
        (
            "train la tcseg --learning-rat 1",
            "option 'learning_rat': no such name; did you mean 'learning_rate'?",
        ),
        ("train la tcseg --optimiser::lr 1", "option 'optimiser::lr': no such name"),
        (
            "train la tcseg --selector agscor",
            "selector 'agscor': no such name; did you mean 'agscore'?",
        ),
        (
            "train camvid fixmatch --criterion::_target_ medssl.losses.OhemCrossEntropy",
            "option criterion::_target_: criterion has no parts: it is $losses.cross_entropy; set it",
        ),
        ("train camvid supervised --selector agscore", "supervised believes no pseudo-labels; leave it out"),
        ("train la supervised --selector agscore", "supervised believes no pseudo-labels; leave it out"),
        ("train camvd fixmatch", "data set 'camvd': no such name; did you mean 'camvid'?"),
        ("train camvid tcseg", "method 'tcseg': no such name"),
        ("train camvid fixmatch --bundle tcseg", "data set 'camvid': no such name"),
        ("train la tcseg --labeled", "--labeled: has no value"),
        ("train la tcseg --dry-run maybe", "--dry_run maybe: neither true nor false"),
        ("train mine.yaml tcseg", "mine.yaml: no such file"),
        ("train d.json tcseg", "d.json: no such datalist"),
        ("train la tcseg --bundle tcsegg", "bundle 'tcsegg': no such name; did you mean 'tcseg'?"),
        ("train la tcseg --bundle ./nowhere", "bundle has no configs/train.yaml"),
        ("evaluate", "medssl evaluate: needs the folder of a run"),
        ("evaluate nowhere", "no run.json; give the folder of a run"),
        ("bundle tcseg", "medssl bundle: no folder to copy to"),
        ("bundle tcsegg copy", "bundle 'tcsegg': no such name; did you mean 'tcseg'?"),
    ],
)
def test_bad_words_are_one_line_and_leave_nothing(empty, capsys, words, line):
    assert main(words.split()) == 2
    stderr = capsys.readouterr().err
    assert line in stderr
    assert stderr.count("\n") == 1
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "evaluate", "bundle"])
def test_help_names_what_there_is(capsys, command):
    assert main([command, "--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: medssl {command}")
    if command == "train":
        assert all(name in output for kind in KINDS for name in find_bundle("tcseg").overlays(kind))


@pytest.mark.parametrize(("command", "config"), [("train", "train.yaml"), ("evaluate", "evaluate.yaml")])
def test_help_lists_every_option_that_is_a_plain_value(capsys, command, config):
    main([command, "--help"])
    said = capsys.readouterr().out
    settings = read_config(CONFIGS / config)
    parts = ("imports", "+imports", "initialize", "run", "finalize", "lr_scheduler")
    plain = [name for name, value in settings.items() if name not in parts and not refers(value)]
    assert len(plain) > 5
    assert [name for name in plain if f"\n{name}: " not in said] == []
    assert "{_target_" not in said


def refers(value):
    """Whether a setting is an expression, a reference or a part."""
    return isinstance(value, dict) or str(value).startswith(("$", "@")) or "'@" in str(value)


@pytest.mark.parametrize("words", ["train --help", "train la tcseg --labelled 3", "train la tcseg --dry-run"])
def test_nothing_large_is_imported_before_the_words_are_known_to_be_good(words):
    code = f"import sys; from medssl.cli import main; main({words.split()}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.endswith("False\n")


def test_a_dry_run_prints_monais_command(empty, capsys):
    (empty / "mine.yaml").write_text("seed: 3\n")
    assert (
        main(["train", "mine.yaml", "tcseg", "--dataset_dir", "data", "--network", "segresnet", "--dry-run"])
        == 0
    )
    files = [CONFIGS / "train.yaml", empty / "mine.yaml", CONFIGS / "methods/tcseg.yaml"]
    files.append(CONFIGS / "networks/segresnet.yaml")
    names = ",".join(f"'{file}'" for file in files)
    assert capsys.readouterr().out == (
        f'python -m monai.bundle run --config_file "[{names}]" --bundle_root {CONFIGS.parent} '
        f"--dataset_dir {empty / 'data'}\n"
    )


def files_of(line):
    return [Path(name) for name in re.findall(r"'([^']+\.yaml)'", line)]


@pytest.mark.parametrize(
    ("words", "bundle"),
    [
        ("camvid fixmatch", "natural_image"),
        ("shapes fixmatch", "natural_image"),
        ("la tcseg", "tcseg"),
        ("custom supervised", "tcseg"),  # both have one
        ("custom supervised --bundle natural_image", "natural_image"),
    ],
)
def test_a_data_set_that_one_bundle_alone_has_names_it(empty, capsys, words, bundle):
    assert main(["train", *words.split(), "--dry-run"]) == 0
    line = capsys.readouterr().out
    configs = find_bundle(bundle).path / "configs"
    dataset, method = words.split()[:2]
    assert files_of(line) == [
        configs / "train.yaml", configs / f"datasets/{dataset}.yaml", configs / f"methods/{method}.yaml"
    ]  # fmt: skip
    assert f"--bundle_root {configs.parent}" in line


@pytest.mark.parametrize("bundle", bundle_names())
def test_help_of_a_bundle_lists_its_overlays_and_options(capsys, bundle):
    assert main(["train", "--help", "--bundle", bundle]) == 0
    output = capsys.readouterr().out
    assert f"the help of {bundle}" in " ".join(output.split())
    assert all(name in output for kind in KINDS for name in find_bundle(bundle).overlays(kind))
    assert "\nlearning_rate: " in output


def test_a_selector_is_an_overlay_by_name_or_path_or_a_setting(empty, capsys):
    (empty / "mine.yaml").write_text("selector: null\n")
    configs = find_bundle("tcseg").path / "configs"
    for word, overlay in (
        ("agscore", configs / "selectors/agscore.yaml"),
        ("mine.yaml", empty / "mine.yaml"),
    ):
        assert main(["train", "la", "tcseg", "--selector", word, "--dry-run"]) == 0
        line = capsys.readouterr().out
        assert files_of(line)[-1] == overlay
        assert "--selector" not in line
    for word in ("{'_target_': 'mine.Selector', 'threshold': 0.9}", "null"):
        assert main(["train", "la", "tcseg", "--selector", word, "--dry-run"]) == 0
        line = capsys.readouterr().out
        assert files_of(line.split("--bundle_root")[0])[-1] == configs / "methods/tcseg.yaml"
        assert "--selector" in line


def test_a_bundle_is_listed_copied_and_then_found_by_its_path(empty, capsys):
    assert main(["bundle"]) == 0
    assert capsys.readouterr().out.split() == bundle_names()
    assert main(["bundle", "tcseg", "mine/copy"]) == 0
    assert "medssl train DATASET METHOD --bundle mine/copy" in capsys.readouterr().out
    for path in CONFIGS.rglob("*.yaml"):
        assert read_config(empty / "mine/copy/configs" / path.relative_to(CONFIGS)) == read_config(path)
    assert main(["train", "la", "tcseg", "--bundle", "mine/copy", "--dry-run"]) == 0
    assert str(empty / "mine/copy/configs/train.yaml") in capsys.readouterr().out
    assert main(["bundle", "tcseg", "mine/copy"]) == 2
    assert "exists already" in capsys.readouterr().err
