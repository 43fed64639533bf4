import json
import pickle
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from monai.data import MetaTensor

from medssl.common.errors import InputError
from medssl.data.preparing import forms, prepare
from medssl.data.preparing.forms import Prepared, compact
from medssl.data.preparing.prepare import Recipe, prepare_set, run_script, walk
from medssl.data.reading.alignment import align_label

RECIPE = Recipe("toy", ("background", "organ"), {"size": 4})
SOURCES = {case: {"image": case, "label": case} for case in ("a", "b", "c")}


def convert(parts):
    if parts["image"] == "b":
        raise RuntimeError("no\n luck")
    volume = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    return Prepared(volume, np.eye(4), (volume > 30).astype(np.uint8))


def test_any_error_of_one_case_is_one_line_and_stops_no_other(tmp_path):
    outcome = prepare_set(tmp_path / "out", SOURCES, convert, RECIPE)
    assert outcome.written == ("a", "c")
    assert outcome.faults == {"b": "cannot be converted (RuntimeError: no luck)"}
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["cases"] == ["a", "c"]
    assert run_script(lambda: prepare_set(tmp_path / "out", SOURCES, convert, RECIPE)) == 1


def test_a_killed_process_is_reported_for_every_case_that_it_cost(tmp_path, monkeypatch):
    class Killed:
        def __init__(self, *arguments, **options):
            pass

        def submit(self, *arguments):
            future = Future()
            future.set_exception(BrokenProcessPool("terminated abruptly"))
            return future

        def shutdown(self, **options):
            pass

    monkeypatch.setattr(prepare, "ProcessPoolExecutor", Killed)
    outcome = prepare_set(tmp_path / "out", SOURCES, convert, RECIPE, jobs=2)
    assert set(outcome.faults) == set(SOURCES)
    assert "a process was killed" in outcome.faults["a"]


def test_a_conversion_that_cannot_be_sent_to_processes_fails_at_once(tmp_path):
    with pytest.raises((AttributeError, pickle.PicklingError)):
        prepare_set(tmp_path / "out", SOURCES, lambda parts: convert(parts), RECIPE, jobs=2)


def test_no_part_of_a_case_stays_when_writing_fails(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(forms, "nifti_bytes", fail)
    outcome = prepare_set(tmp_path / "out", {"a": SOURCES["a"]}, convert, RECIPE)
    assert "no space left" in outcome.faults["a"]
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["dataset.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not the record"), ('{"name": "toy"}', "not the record"), ("[]", "not the record")],
)
def test_a_broken_record_is_named(tmp_path, content, message):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=message):
        prepare_set(tmp_path, SOURCES, convert, RECIPE)


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(InputError, match="jobs=0"):
        prepare_set(tmp_path, SOURCES, convert, RECIPE, jobs=0)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        prepare_set(tmp_path / "file", SOURCES, convert, RECIPE)


def test_interrupt_and_unforeseen_errors(capsys):
    def interrupt():
        raise KeyboardInterrupt

    def fail():
        raise RuntimeError("a bug")

    assert run_script(interrupt) == 130
    assert "goes on from here" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        run_script(fail)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 255], np.uint8),
        ([-1, 3], np.int16),
        ([0, 300], np.int16),
        ([0, 0.5], np.float32),
        ([0, 4e4], np.float32),
    ],
)
def test_compact_loses_nothing(values, kind):
    volume = np.array(values, dtype=np.float32)
    assert compact(volume).dtype == kind
    np.testing.assert_array_equal(compact(volume), volume)


def test_alignment_permutes_and_flips_to_the_image():
    array = np.arange(24.0).reshape(2, 3, 4)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    image = MetaTensor(array[None], affine=affine)
    stored = np.flip(array.transpose(2, 0, 1), 1)
    turn = np.array([[0, -1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
    label = MetaTensor(np.ascontiguousarray(stored)[None], affine=affine @ turn)
    aligned = align_label(label, image, where="l.nii")
    np.testing.assert_array_equal(aligned[0].numpy(), array)
    np.testing.assert_allclose(aligned.affine, affine)


def test_walk_follows_links_but_no_loops(tmp_path):
    (tmp_path / "set" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.nii").touch()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "sub" / "loop").symlink_to(tmp_path / "set")
    walked = [(folder.name, names) for folder, names in walk(tmp_path / "set")]
    assert walked == [("set", []), ("link", ["x.nii"]), ("sub", [])]
