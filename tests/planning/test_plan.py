"""Whole plans of made-up data sets, and the file that holds one."""

from math import prod

import pytest
import yaml

from medssl.common.errors import InputError
from medssl.common.plan_files import read_plan
from medssl.planning import Wishes, check_plan, make_plan, plan_text
from medssl.planning.of_datalist import busy_line
from medssl.planning.patch_search import ToldCosts
from medssl.planning.rules.patches import StepCost
from tests.planning.cases import CENTRE, case, data_set


class Linear:
    """Costs in proportion to voxels; bf16 takes ``half`` of the time."""

    def __init__(self, seconds_per_voxel, half=1.0):
        self.rate, self.half, self.asked = seconds_per_voxel, half, []

    def step(self, patch, *, amp="off", **settings):
        self.asked.append(patch)
        return StepCost(self.rate * prod(patch) * (self.half if amp == "bf16" else 1.0), prod(patch) / 1e3)

    def window(self, patch, **settings):
        return self.rate * prod(patch) / 10

    def multiple(self):
        return 8


LARGE = case(size=(160, 160, 160), boxes={1: ((20, 140),) * 3})


def test_a_small_scan_is_taken_whole_on_its_own_grid():
    plan = make_plan(data_set(case(boxes=CENTRE)), Wishes(3600), Linear(1e-6))
    assert plan.value("patch_size") == [64, 64, 64]
    assert plan.value("stride") == [32, 32, 32]
    assert plan.value("spacing") is None
    assert plan.pays


def test_a_slow_machine_gets_a_coarser_grid_on_which_the_patch_shows_enough():
    fast = make_plan(data_set(LARGE), Wishes(3600), Linear(1e-6))
    slow = make_plan(data_set(LARGE), Wishes(3600), Linear(1e-5))
    assert fast.value("spacing") is None
    assert slow.value("spacing")[0] > 1
    mm = [n * side for n, side in zip(slow.value("patch_size"), slow.value("spacing"), strict=True)]
    assert prod(mm) >= 0.25 * 160**3
    assert slow.schedule.seconds <= 3600
    assert "@resample" in slow.value("preprocessing")


class Cliff(Linear):
    """Costs that jump beyond 150,000 voxels, so that estimates from smaller patches are too low."""

    def step(self, patch, **settings):
        return StepCost(0.5 if prod(patch) <= 150_000 else 100.0)


def test_where_patches_are_dearer_than_estimated_the_grid_gets_coarser_until_they_show_enough():
    plan = make_plan(data_set(LARGE), Wishes(3600), Cliff(1e-6))
    mm = [n * side for n, side in zip(plan.value("patch_size"), plan.value("spacing"), strict=True)]
    assert prod(mm) >= 0.25 * 160**3
    assert plan.schedule.max_steps >= 1_500


def test_a_tiny_structure_keeps_the_grid_and_the_doubt_is_said():
    tiny = data_set(case(size=(160, 160, 160), boxes={1: ((20, 24),) * 3, 2: ((10, 140),) * 3}))
    tiny = type(tiny)(**{**vars(tiny), "class_names": ("background", "tumour", "organ")})
    plan = make_plan(tiny, Wishes(3600), Linear(1e-5))
    assert plan.value("spacing") is None
    assert any("so small a patch" in line for line in plan.not_known)
    assert plan.value("oversampling") > 0


def test_a_coarse_axis_is_spared_by_patch_strides_and_spacing():
    slices = data_set(
        case(size=(128, 128, 10), spacing=(1.5, 1.5, 10), boxes={1: ((40, 90), (40, 90), (2, 8))})
    )
    plan = make_plan(slices, Wishes(3600), Linear(1e-6))
    assert plan.value("spacing") is None
    assert plan.value("patch_size")[2] < 16
    assert plan.value("network_strides")[0] == [2, 2, 1]


def test_bf16_is_taken_where_it_was_measured_to_be_faster():
    cube = data_set(case(boxes=CENTRE))
    assert make_plan(cube, Wishes(3600), Linear(1e-6, half=0.5)).value("amp") == "bf16"
    assert make_plan(cube, Wishes(3600), Linear(1e-6, half=1.1)).value("amp") == "off"
    assert make_plan(cube, Wishes(3600, times_steps=False), ToldCosts(0.5)).value("amp") == "off"


def test_memory_bounds_the_patch():
    plan = make_plan(data_set(LARGE), Wishes(36_000, memory_mb=300), Linear(1e-7))
    assert prod(plan.value("patch_size")) <= 300_000


def test_another_network_brings_its_own_multiple_and_no_strides():
    odd = data_set(case(size=(40, 40, 40), boxes=CENTRE))
    plan = make_plan(odd, Wishes(3600, network="segresnet"), Linear(1e-7))
    assert plan.value("patch_size") == [40, 40, 40]
    with pytest.raises(KeyError):
        plan.value("network_strides")


def test_what_is_not_known_is_said():
    poor = data_set(case(boxes=CENTRE, oriented=False), unlabeled=0, validation=0, test=0, named=False)
    plan = make_plan(poor, Wishes(3600), Linear(1e-6))
    said = " ".join(plan.not_known)
    for words in (
        "names of the classes",
        "only one",
        "left to right",
        "no validation",
        "no test",
        "unlabelled",
    ):
        assert words in said
    assert plan.method == "supervised"
    assert plan.value("unlabeled_per_batch") == 0


def test_few_steps_are_said_to_favour_supervised_training():
    plan = make_plan(data_set(LARGE), Wishes(600), ToldCosts(1.0))
    assert not plan.pays
    assert "Supervised training is the better choice" in plan.verdict


def text_of(**settings):
    plan = make_plan(data_set(case(boxes=CENTRE), **settings), Wishes(3600), Linear(1e-6))
    return plan, plan_text(plan, datalist="/data/d.json", labeled=1)


def test_the_file_holds_every_decision_with_its_reason():
    plan, text = text_of()
    content = yaml.safe_load(text)
    for decision in plan.decisions:
        assert content[decision.name] == decision.value
    lines = text.splitlines()
    for decision in plan.decisions:
        place = next(n for n, line in enumerate(lines) if line.startswith(f"{decision.name}:"))
        assert lines[place - 1].startswith("# ")
    assert max(map(len, (line for line in lines if line.startswith("#")))) <= 110


def test_equal_input_gives_equal_bytes():
    assert text_of()[1] == text_of()[1]


def test_a_plan_is_read_back_and_a_relative_datalist_lies_beside_it(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(text_of()[1].replace("/data/d.json", "lists/d.json"))
    plan = read_plan(path)
    assert (plan.method, plan.network) == ("tcseg_short", None)
    assert plan.datalist == tmp_path / "lists/d.json"


@pytest.mark.parametrize("content", ["seed: 1\n", "plan: {method: x}\n", "- 1\n"])
def test_what_is_no_plan_is_refused(tmp_path, content):
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"p\.yaml"):
        read_plan(path)


def test_a_plan_for_other_classes_is_refused_and_other_cases_are_said(caplog):
    about = {"method": "x", "classes": ["background", "organ"], "labeled": 4}
    check_plan(None, {"training": []}, 7)
    check_plan(about, {"training": [{}] * 4, "classes": ["background", "organ"]}, 2)
    assert not caplog.text
    check_plan(about, {"training": [{}] * 9}, 2)
    assert "made with 4 labelled cases, and there are 9 now" in caplog.text
    with pytest.raises(InputError, match="the datalist names background, liver"):
        check_plan(about, {"training": [], "classes": ["background", "liver"]}, 2)
    with pytest.raises(InputError, match="num_classes is 3"):
        check_plan(about, {"training": []}, 3)


@pytest.mark.parametrize(
    ("load", "cores", "said"),
    [(0.4, 1, False), (0.9, 2, False), (1.1, 2, True), (3.0, 8, False), (6.0, 8, True)],
)
def test_a_busy_machine_is_told_that_its_timings_are(monkeypatch, load, cores, said):
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    line = busy_line(cores)
    assert (line is not None) == said
    assert line is None or f"load {load:.1f} on {cores} cores" in line
