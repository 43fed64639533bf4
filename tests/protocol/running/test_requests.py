import pytest

from medssl.common.errors import InputError
from medssl.protocol.running.job import Outcome
from medssl.protocol.running.requests import check_devices, requested_runs
from medssl.protocol.running.texts import outcome_text, outcomes_text, plan_text
from tests.places import ROOT
from tests.protocol.running.test_job import planned

PHANTOM = ROOT / "scripts/protocols/phantom.yaml"


def test_words_become_settings_of_the_runs_that_match(tmp_path):
    runs = requested_runs(
        PHANTOM,
        folder=tmp_path / "runs",
        dataset_dirs=[str(tmp_path)],
        settings=["stride=[8, 8, 4]", "setting_text=a=b"],
        only="*-seed1",
    )
    assert {run.seed for run in runs} == {1}
    for run in runs:
        assert run.folder.parent == tmp_path / "runs"
        assert run.settings["stride"] == [8, 8, 4]
        assert run.settings["setting_text"] == "a=b"
        assert run.settings["dataset_dir"] == str(tmp_path)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ({"only": "nothing*"}, "matches no run; such as "),
        ({"settings": ["max_steps"]}, "no KEY=VALUE"),
        ({"settings": ["=3"]}, "no KEY=VALUE"),
        ({"settings": ["stride=[1"]}, "value is no YAML"),
        ({"dataset_dirs": ["nowhere"]}, "no such folder"),
    ],
)
def test_words_that_cannot_be_used_are_named(tmp_path, words, fault):
    with pytest.raises(InputError, match=fault):
        requested_runs(PHANTOM, **{"folder": tmp_path / "runs", "dataset_dirs": [str(tmp_path)], **words})
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:99"])
def test_devices_that_there_are_not(device):
    check_devices(["cpu", "cpu"])
    with pytest.raises(InputError, match=f"--devices {device}"):
        check_devices(["cpu", device])


def test_a_plan_says_what_is_left_and_how_long_it_takes(tmp_path):
    runs = [planned(tmp_path, f"run{number}", seed=number, minutes=4) for number in range(3)]
    for run in runs[:2]:
        run.folder.mkdir()
    (runs[1].folder / "log.jsonl").write_text('{"step": 40, "seconds": 1.0}\n')
    states = {"run0": "finished", "run1": "cut", "run2": "to do"}
    assert plan_text(runs, states, side_by_side=2).splitlines() == [
        "run0  finished             4 min 00 s",
        "run1  cut at step 40       4 min 00 s",
        "run2  to do                4 min 00 s",
        "3 runs, 1 finished, 2 left, 2 side by side; about 4 min 00 s, without what cut runs have done",
    ]
    unknown = [planned(tmp_path, "run2", minutes=None)]
    assert "no estimate before" in plan_text(unknown, {"run2": "to do"}, side_by_side=1)
    assert plan_text(runs[:1], states, side_by_side=1).endswith("1 runs, 1 finished, 0 left, 1 side by side")


def test_outcomes_are_counted_and_failures_named(tmp_path):
    runs = [planned(tmp_path, name) for name in ("a", "b")]
    outcomes = [Outcome("a", "finished", seconds=65), Outcome("b", "failed", "no luck", seconds=2)]
    assert [outcome_text(outcome) for outcome in outcomes] == [
        "a  finished after 1 min 05 s",
        "b  failed after 2 s: no luck",
    ]
    assert outcomes_text(runs, outcomes) == f"1 of 2 runs finished in {tmp_path}\nfailed: b: no luck"
