import subprocess
import sys

import pytest

import medssl
from tests.places import ROOT

HEAVY = ("torch", "monai", "pandas", "matplotlib", "nibabel")


def loaded_after(code):
    """Those of the heavy libraries that are in a new interpreter after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        cwd=ROOT, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split()) & set(HEAVY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "libraries"),
    [
        ("import medssl; dir(medssl); medssl.__version__", set()),
        ("import medssl.cli", set()),
        ("import medssl.common.progress, medssl.common.run_folder, medssl.common.next_steps", set()),
        ("import medssl; medssl.metrics.dice", {"torch"}),
        ("import medssl; medssl.reliability.DualAxis", {"torch"}),
        ("import medssl; medssl.losses", {"torch"}),
        ("import medssl.protocol.audit.feasibility", set()),
    ],
)
def test_what_an_import_loads(code, libraries):
    assert loaded_after(code) == libraries


def test_the_rooms_are_attributes():
    folders = {path.parent.name for path in (ROOT / "medssl").glob("*/__init__.py")}
    assert set(medssl.ROOMS) == folders - {"commands"}
    for name in medssl.ROOMS:
        assert getattr(medssl, name).__name__ == f"medssl.{name}"
        assert name in dir(medssl)


@pytest.mark.parametrize("name", ["load_run", "predict"])
def test_the_names_of_a_notebook_are_those_of_the_inference_room(name, monkeypatch):
    function = object()
    monkeypatch.setattr(medssl.inference, name, function, raising=False)
    assert getattr(medssl, name) is function
    assert name in dir(medssl)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'netwroks'"):
        _ = medssl.netwroks


def test_types_are_declared():
    assert (ROOT / "medssl/py.typed").is_file()
